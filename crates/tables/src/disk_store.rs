//! [`DiskStore`]: a [`Disk`] as an object store, for what writes through one.
//!
//! What was put is on the disk when the call returns: its bytes, and its name. A name is there
//! with all its bytes or not at all, so that a table's commit is never read half written.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result, UploadPart,
};
use timesink_store::{Disk, Entry};

const NAME: &str = "disk";

/// How the names of files end that are being written, or were when a crash came.
pub(crate) const UNFINISHED: &str = ".unfinished";

/// A folder of a file system. Calls block: it is for threads that may wait for a disk.
/// One process writes, and one file of a name at a time.
#[derive(Debug, Clone)]
pub struct DiskStore {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl DiskStore {
    /// Makes a store of a folder, which is made with the first file in it.
    pub fn new(disk: Arc<dyn Disk>, root: impl Into<PathBuf>) -> Self {
        Self { disk, root: root.into() }
    }

    fn path(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }

    fn write(&self, location: &Path, payload: &PutPayload, mode: &PutMode) -> Result<PutResult> {
        let path = self.path(location);
        let written = match mode {
            PutMode::Overwrite => self.write_file(&path, payload, false),
            PutMode::Create => self.write_file(&path, payload, true),
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "put where nothing changed meanwhile".to_owned(),
                    implementer: NAME.to_owned(),
                });
            }
        };
        written.map_err(|cause| error(location, cause))?;
        Ok(PutResult { e_tag: None, version: None })
    }

    fn write_file(&self, path: &FilePath, payload: &PutPayload, is_new: bool) -> io::Result<()> {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.disk.create_folder(folder)?;
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let finished = self.fill(&unfinished, payload).and_then(|()| {
            if is_new { self.name(&unfinished, path) } else { self.disk.rename(&unfinished, path) }
        });
        if finished.is_err() {
            // It may never have been there; what is left is written again, or swept up.
            let _ = self.disk.remove(&unfinished);
        }
        finished?;
        self.disk.sync_folder(folder)
    }

    /// Gives a file a name that no file has.
    fn name(&self, unfinished: &FilePath, path: &FilePath) -> io::Result<()> {
        match self.disk.link(unfinished, path) {
            Ok(()) => self.disk.remove(unfinished),
            // A file system without links. There is one writer, so that nobody comes between.
            Err(cause) if is_unsupported(&cause) => match self.disk.look(path) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                    self.disk.rename(unfinished, path)
                }
                Err(cause) => Err(cause),
            },
            Err(cause) => Err(cause),
        }
    }

    fn fill(&self, path: &FilePath, payload: &PutPayload) -> io::Result<()> {
        let mut file = match self.disk.create(path) {
            // A crash came while it was written.
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(path)?;
                self.disk.create(path)?
            }
            created => created?,
        };
        for bytes in payload {
            file.append(bytes)?;
        }
        file.sync()
    }

    fn look(&self, location: &Path) -> Result<ObjectMeta> {
        let entry = self.disk.look(&self.path(location));
        match entry {
            Ok(entry) if !entry.is_folder => Ok(meta(location.clone(), &entry)),
            Ok(_) => Err(error(location, io::ErrorKind::NotFound.into())),
            Err(cause) => Err(error(location, cause)),
        }
    }

    /// Returns the files in a folder and those below it.
    fn files(&self, folder: &Path) -> Result<Vec<ObjectMeta>> {
        let ListResult { mut objects, common_prefixes, .. } = self.entries(folder)?;
        for folder in common_prefixes {
            objects.extend(self.files(&folder)?);
        }
        Ok(objects)
    }

    fn entries(&self, folder: &Path) -> Result<ListResult> {
        let names = match self.disk.list(&self.path(folder)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|cause| error(folder, cause))?,
        };
        let mut found = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        for name in names {
            let location = folder.clone().join(name.as_str());
            match self.disk.look(&self.path(&location)) {
                Ok(entry) if entry.is_folder => found.common_prefixes.push(location),
                Ok(entry) => found.objects.push(meta(location, &entry)),
                // It went meanwhile.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(error(&location, cause)),
            }
        }
        Ok(found)
    }
}

impl Display for DiskStore {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

#[async_trait]
impl ObjectStore for DiskStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.write(location, &payload, &options.mode)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let (store, location) = (self.clone(), location.clone());
        Ok(Box::new(Upload { store, location, parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let meta = self.look(location)?;
        options.check_preconditions(&meta)?;
        let whole = 0..meta.size;
        let range = match &options.range {
            Some(range) => range
                .as_range(meta.size)
                .map_err(|cause| Error::Generic { store: NAME, source: Box::new(cause) })?,
            None => whole,
        };
        let bytes = if options.head {
            Vec::new()
        } else {
            let read = self.disk.read_range(&self.path(location), range.clone());
            read.map_err(|cause| error(location, cause))?
        };
        let payload = stream::once(async move { Ok(bytes.into()) }).boxed();
        let attributes = Attributes::default();
        Ok(GetResult { payload: GetResultPayload::Stream(payload), meta, range, attributes })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let removed = locations.map(move |location| {
            let location = location?;
            let path = store.path(&location);
            store.disk.remove(&path).map_err(|cause| error(&location, cause))?;
            // Where others are in it, it stays.
            let _ = path.parent().map(|folder| store.disk.remove_folder(folder));
            Ok(location)
        });
        removed.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.files(prefix.unwrap_or(&Path::default())) {
            Ok(files) => stream::iter(files.into_iter().map(Ok)).boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.entries(prefix.unwrap_or(&Path::default()))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let bytes = self.disk.read(&self.path(from)).map_err(|cause| error(from, cause))?;
        let mode = match options.mode {
            CopyMode::Overwrite => PutMode::Overwrite,
            CopyMode::Create => PutMode::Create,
        };
        self.write(to, &bytes.into(), &mode).map(drop)
    }
}

/// A file that comes in parts: it is held until the last one is there.
#[derive(Debug)]
struct Upload {
    store: DiskStore,
    location: Path,
    parts: Vec<PutPayload>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.parts.push(part);
        Box::pin(async { Ok(()) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let parts = std::mem::take(&mut self.parts);
        let payload = parts.iter().flat_map(PutPayload::iter).cloned().collect();
        self.store.write(&self.location, &payload, &PutMode::Overwrite)
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

/// Returns whether a file system has no links (`link(2)`, EPERM and EOPNOTSUPP).
fn is_unsupported(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
}

fn meta(location: Path, entry: &Entry) -> ObjectMeta {
    let last_modified = entry.modified.into();
    ObjectMeta { location, last_modified, size: entry.bytes, e_tag: None, version: None }
}

fn error(location: &Path, cause: io::Error) -> Error {
    let (path, kind) = (location.to_string(), cause.kind());
    let source = Box::new(cause);
    match kind {
        io::ErrorKind::NotFound => Error::NotFound { path, source },
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source },
        _ => Error::Generic { store: NAME, source },
    }
}
