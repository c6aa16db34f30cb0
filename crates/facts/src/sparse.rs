//! [`Sparse`]: a column in which most spans have no value.

/// One value for some of the spans.
#[derive(Debug, Clone)]
pub(crate) struct Sparse<T> {
    /// Where each span's value is, and one more, 0 for none; empty until there is a value.
    places: Vec<u32>,
    values: Vec<T>,
    spans: usize,
}

impl<T> Sparse<T> {
    /// Returns a column of so many spans without any value.
    pub(crate) fn new(spans: usize) -> Self {
        Self { places: Vec::new(), values: Vec::new(), spans }
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        let place = self.places.get(at)?.checked_sub(1)?;
        Some(&self.values[place as usize])
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        let place = self.places.get(at)?.checked_sub(1)?;
        Some(&mut self.values[place as usize])
    }

    /// Returns all values there are, in no order.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut()
    }

    /// Sets the value of a span.
    pub(crate) fn set(&mut self, at: usize, value: T) {
        if self.places.is_empty() {
            self.places = vec![0; self.spans];
        }
        match self.places[at] {
            0 => {
                self.values.push(value);
                self.places[at] = self.values.len() as u32;
            }
            place => self.values[place as usize - 1] = value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sparse;

    #[test]
    fn a_span_has_its_last_value_or_none() {
        let mut column = Sparse::new(3);
        assert_eq!(column.get(2), None);
        column.set(2, "a");
        column.set(0, "b");
        column.set(2, "c");
        assert_eq!([0, 1, 2].map(|at| column.get(at).copied()), [Some("b"), None, Some("c")]);
    }
}
