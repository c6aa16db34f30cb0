//! The protobuf wire format, read tolerantly and written plainly.
//!
//! Reading never recurses and never trusts a length.

/// Appends protobuf fields to a buffer. An embedded message is written in place:
/// `message` reserves its length and closes it when the closure returns.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    /// Writes a varint field (`int32`, `int64`, `uint32`, `bool`, an enum). Zero is written too.
    pub(crate) fn varint(&mut self, field: u32, value: u64) {
        self.raw_varint(u64::from(field << 3));
        self.raw_varint(value);
    }

    /// Writes a `fixed64`, `sfixed64` or, by its bits, a `double` field.
    pub(crate) fn fixed64(&mut self, field: u32, value: u64) {
        self.raw_varint(u64::from(field << 3 | 1));
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a `fixed32` field.
    pub(crate) fn fixed32(&mut self, field: u32, value: u32) {
        self.raw_varint(u64::from(field << 3 | 5));
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a `string` or `bytes` field.
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.raw_varint(u64::from(field << 3 | 2));
        self.raw_varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// Writes an embedded message whose fields `write` appends.
    pub(crate) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.raw_varint(u64::from(field << 3 | 2));
        let start = self.bytes.len();
        write(self);
        let length = self.bytes.len() - start;
        self.raw_varint(length as u64);
        let prefix = self.bytes.len() - start - length;
        self.bytes[start..].rotate_right(prefix);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}
