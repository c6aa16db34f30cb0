//! [`Spill`]: record batches in a temporary file, read where they lie.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use memmap2::Mmap;
use timesink_facts::packed;

use crate::Error;

/// Where each batch begins in the file, bytes: Arrow reads buffers in place that lie on such places
/// (Arrow IPC format, *Encapsulated message format*).
const ALIGNMENT: usize = 64;

/// Makes a file without a name in the system's folder for temporary ones: nothing of it is left
/// once nobody has it open.
///
/// # Errors
///
/// [`Error::Spill`].
pub fn temporary_file() -> Result<File, Error> {
    tempfile::tempfile_in(std::env::temp_dir()).map_err(Error::of_writing)
}

/// Batches on their way into a temporary file.
#[derive(Debug)]
pub struct Spill {
    file: BufWriter<File>,
    written: usize,
    batches: Vec<Range<usize>>,
}

impl Spill {
    /// Makes the file.
    ///
    /// # Errors
    ///
    /// [`Error::Spill`].
    pub fn new() -> Result<Self, Error> {
        let file = BufWriter::new(temporary_file()?);
        Ok(Self { file, written: 0, batches: Vec::new() })
    }

    /// Writes a batch of columns that are [packed](timesink_facts::packed) when they are read.
    ///
    /// # Errors
    ///
    /// As [`Spill::write`].
    pub fn write_packed(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.write(&packed::pack_batch(batch)?)
    }

    /// Writes a batch.
    ///
    /// # Errors
    ///
    /// [`Error::Spill`], and [`Error::Arrow`] for a type that the format lacks.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let bytes = encode(batch)?;
        let begin = self.written;
        self.batches.push(begin..begin + bytes.len());
        self.written = (begin + bytes.len()).next_multiple_of(ALIGNMENT);
        let padding = [0; ALIGNMENT];
        let padding = &padding[..self.written - begin - bytes.len()];
        let written = self.file.write_all(&bytes).and_then(|()| self.file.write_all(padding));
        written.map_err(Error::of_writing)
    }

    /// Returns the batches in their order. The file lasts as long as one of them does.
    ///
    /// # Errors
    ///
    /// As [`Spill::write`].
    pub fn batches(self) -> Result<Vec<RecordBatch>, Error> {
        let Self { file, batches, .. } = self;
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        let map = file.and_then(|file| map(&file));
        let whole = Bytes::from_owner(map.map_err(Error::of_writing)?);
        // Of its own each: whoever counts memory counts a batch, not the file.
        let decoded = batches.into_iter().map(|batch| decode(whole.slice(batch).into()));
        Ok(decoded.collect::<Result<_, _>>()?)
    }
}

#[expect(unsafe_code, reason = "a file can only be mapped so")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the file has no name and one handle, which ends here: nobody else can change it.
    unsafe { Mmap::map(file) }
}

fn encode(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let columns = batch.columns().iter().map(packed::compact).collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(batch.schema(), columns, &rows)?;
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, batch.schema_ref())?;
    writer.write(&batch)?;
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

/// Reads in place: a batch whose buffers would have to be copied is refused.
fn decode(mut bytes: Buffer) -> Result<RecordBatch, ArrowError> {
    let mut decoder = StreamDecoder::new().with_require_alignment(true);
    let batch = decoder.decode(&mut bytes)?;
    batch.ok_or_else(|| ArrowError::IpcError("a temporary file without a batch".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, Int64Array, NullArray, StringViewArray};
    use timesink_facts::packed::unpack_batch;

    use super::*;

    fn batch(first: i64, rows: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new((first..first + rows).map(Some).collect::<Int64Array>());
        let texts = |text: fn(i64) -> Option<String>| -> ArrayRef {
            Arc::new((first..first + rows).map(text).collect::<StringViewArray>())
        };
        RecordBatch::try_from_iter_with_nullable([
            ("number", numbers, true),
            ("own", texts(|n| Some(format!("a text of its own, number {n}"))), true),
            (
                "shared",
                texts(|n| (n % 3 > 0).then(|| format!("one of a few texts, {}", n % 3))),
                true,
            ),
            ("none", texts(|_| None), true),
        ])
        .expect("columns of one length")
    }

    #[test]
    fn batches_are_read_as_they_were_written() {
        let written = [batch(0, 1000), batch(1000, 1), batch(5, 0), batch(1 << 40, 3000)];
        let mut spill = Spill::new().expect("a temporary file");
        for batch in &written {
            spill.write_packed(batch).expect("room");
        }
        let read = spill.batches().expect("what was written");
        assert_eq!(read.len(), written.len());
        for (written, read) in written.iter().zip(&read) {
            assert_eq!(&unpack_batch(read, &written.schema()).expect("the same types"), written);
        }
        assert_eq!(read[0].column(3).data_type(), NullArray::new(0).data_type());
    }

    #[test]
    fn what_is_not_packed_keeps_its_types() {
        let mut spill = Spill::new().expect("a temporary file");
        spill.write(&batch(0, 10)).expect("room");
        assert_eq!(spill.batches().expect("what was written"), [batch(0, 10)]);
    }

    #[test]
    fn nothing_written_is_nothing_read() {
        assert_eq!(Spill::new().expect("a temporary file").batches().expect("nothing"), []);
    }

    /// Scenario: a slice of a large batch is written.
    /// Guarantee: its texts take the room of the slice.
    #[test]
    fn a_slice_is_written_without_the_rest() {
        let whole = batch(0, 10_000);
        let slice = packed::pack_batch(&whole.slice(0, 10)).expect("columns of ours");
        let bytes = encode(&slice).expect("columns that the format has");
        assert!(bytes.len() < 8192, "{} bytes", bytes.len());
    }
}
