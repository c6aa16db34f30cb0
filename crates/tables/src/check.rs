//! Whether a file is what the table's log says of it.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, RowConverter, SortField};
use serde_json::Value;

use crate::file::named;
use crate::snapshot::{Bounds, LiveFile, Snapshot, read_bytes, rows_in, runs};
use crate::{Error, Layout};

impl Snapshot {
    /// Reads a file whole, and looks whether it has the rows that the table's log says it has, in
    /// their order.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] when it is not there, [`Error::File`] when it is damaged or another one.
    pub async fn check(&self, file: &LiveFile, layout: &Layout) -> Result<(), Error> {
        let broken = |cause: String| self.broken(file, cause);
        let bytes = read_bytes(&self.store(), self.name(), file).await?;
        let runs =
            runs(file, &bytes).map_err(|refused| refused.of_file(self.name(), &file.path))?;
        let mut count = 0;
        for rows in runs {
            let mut order = Order::new(layout);
            for batch in rows_in(bytes.clone(), self.name(), &self.schema(), file, rows)? {
                let batch = batch?;
                count += batch.num_rows() as u64;
                order.check(&batch).map_err(broken)?;
                for (column, bounds) in &file.bounds {
                    check_bounds(&batch, column, bounds).map_err(broken)?;
                }
            }
        }
        match file.rows {
            Some(logged) if count != logged => {
                Err(broken(format!("it has {count} rows, {logged} by the table's log")))
            }
            _ => Ok(()),
        }
    }

    fn broken(&self, file: &LiveFile, cause: String) -> Error {
        Error::File { table: self.name().to_owned(), path: file.path.clone(), cause }
    }
}

/// Looks whether rows are sorted, batch by batch.
struct Order<'l> {
    layout: &'l Layout,
    converter: Option<RowConverter>,
    last: Option<OwnedRow>,
}

impl<'l> Order<'l> {
    fn new(layout: &'l Layout) -> Self {
        Self { layout, converter: None, last: None }
    }

    fn check(&mut self, batch: &RecordBatch) -> Result<(), String> {
        if self.layout.sorted_by.is_empty() || batch.num_rows() == 0 {
            return Ok(());
        }
        let sorted = self.is_sorted(batch).map_err(|cause| cause.to_string())?;
        let names = self.layout.sorted_by.join(", ");
        if sorted { Ok(()) } else { Err(format!("its rows are not sorted by {names}")) }
    }

    fn is_sorted(&mut self, batch: &RecordBatch) -> Result<bool, ArrowError> {
        let names = self.layout.sorted_by.iter();
        let columns = names.map(|name| named(batch, name).cloned());
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let converter = match &mut self.converter {
            Some(converter) => converter,
            none => {
                let fields = columns.iter().map(|c| SortField::new(c.data_type().clone()));
                none.insert(RowConverter::new(fields.collect())?)
            }
        };
        let rows = converter.convert_columns(&columns)?;
        let follows = self.last.as_ref().is_none_or(|last| last.row() <= rows.row(0));
        let are_sorted = (1..rows.num_rows()).all(|row| rows.row(row - 1) <= rows.row(row));
        self.last = Some(rows.row(rows.num_rows() - 1).owned());
        Ok(follows && are_sorted)
    }
}

fn check_bounds(batch: &RecordBatch, column: &str, bounds: &Bounds) -> Result<(), String> {
    let Some(values) = batch.column_by_name(column) else { return Ok(()) };
    let lies_within = if let Some(numbers) = values.as_primitive_opt::<Int64Type>() {
        let within = |number: Option<i64>, is_least: bool| match (number, is_least) {
            (Some(number), true) => bounds.least.as_i64().is_none_or(|least| least <= number),
            (Some(number), false) => bounds.greatest.as_i64().is_none_or(|most| number <= most),
            (None, _) => true,
        };
        within(arrow::compute::min(numbers), true) && within(arrow::compute::max(numbers), false)
    } else if let Some(texts) = values.as_string_view_opt() {
        let text = |value: &'_ Value| value.as_str().map(str::to_owned);
        let (least, greatest) = (text(&bounds.least), text(&bounds.greatest));
        let is_within = |value: &str| {
            least.as_deref().is_none_or(|least| least <= value)
                && greatest.as_deref().is_none_or(|greatest| value <= greatest)
        };
        texts.iter().flatten().all(is_within)
    } else {
        true
    };
    let beyond = || format!("`{column}` has values outside of what the table's log says");
    if lies_within { Ok(()) } else { Err(beyond()) }
}
