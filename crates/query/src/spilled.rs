//! [`TemporaryFiles`]: where the engine puts what it sorts and groups when memory is short. The
//! files have no names, as those of [`timesink_shards::Spill`]: nothing is left, whatever ends the
//! process.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SpillFile, SpillWriter, TempFileFactory};
use futures_util::stream::{self, Stream};

/// Bytes that are read at once.
const READ_BYTES: usize = 128 << 10;

#[derive(Debug)]
pub(crate) struct TemporaryFiles;

impl TempFileFactory for TemporaryFiles {
    fn create_temp_file(&self, _description: &str) -> Result<Arc<dyn SpillFile>> {
        let file = timesink_shards::temporary_file();
        let file = file.map_err(|error| DataFusionError::External(Box::new(Arc::new(error))))?;
        Ok(Arc::new(Unnamed(Arc::new(file))))
    }
}

struct Unnamed(Arc<File>);

impl SpillFile for Unnamed {
    fn size(&self) -> Option<u64> {
        self.0.metadata().ok().map(|metadata| metadata.len())
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        let file = Arc::clone(&self.0);
        // On the threads of queries, which may wait.
        let chunks = (0..).step_by(READ_BYTES).map(move |offset| read(&file, offset));
        let chunks = chunks.take_while(|chunk| !matches!(chunk, Ok(bytes) if bytes.is_empty()));
        Ok(Box::pin(stream::iter(chunks)))
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(Writer(self.0.try_clone()?)))
    }
}

/// Returns as many bytes as there are from a place on, so many at most.
fn read(file: &File, offset: u64) -> Result<Bytes> {
    let mut bytes = vec![0; READ_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

struct Writer(File);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl SpillWriter for Writer {
    fn finish(&mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}
