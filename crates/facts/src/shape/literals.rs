//! The literals of a statement, as one number: whether two statements of one shape differ in them.

/// The offset and the prime of FNV-1a with 64 bits (RFC 9923): the number is compared between runs
/// and machines, so it must not depend on either.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Stands behind each literal; no text has this byte.
const END: u8 = 0xff;

/// The literals in their order.
#[derive(Debug, Default)]
pub(super) struct Literals {
    /// Where each stands in the shape, and the hash of all up to it.
    hashes: Vec<(usize, u64)>,
}

impl Literals {
    /// Appends a literal; positions do not fall.
    pub(super) fn add(&mut self, at: usize, sign: &str, text: &str) {
        let before = self.hashes.last().map_or(FNV_OFFSET, |&(_, hash)| hash);
        let bytes = sign.bytes().chain(text.bytes()).chain([END]);
        let hash = bytes.fold(before, |hash, b| (hash ^ u64::from(b)).wrapping_mul(FNV_PRIME));
        self.hashes.push((at, hash));
    }

    /// Forgets the literals from a position on.
    pub(super) fn truncate(&mut self, position: usize) {
        while self.hashes.pop_if(|&mut (at, _)| at >= position).is_some() {}
    }

    /// Returns the hash of all literals, `None` when there is none.
    pub(super) fn hash(&self) -> Option<i64> {
        self.hashes.last().map(|&(_, hash)| hash.cast_signed())
    }
}
