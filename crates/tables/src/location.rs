//! [`Location`]: where the tables of a data directory are.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::prefix::PrefixStore;
use timesink_store::LocalDisk;
use url::Url;

use crate::{DiskStore, Error};

/// The folder of the tables in a data directory.
pub const TABLES: &str = "tables";

/// The file in a data directory that says where its tables are, if they are not in it.
const ELSEWHERE: &str = "tables.url";

/// What the names of settings begin with that an object store takes from the environment.
const SETTINGS: &str = "AWS_";

/// Where tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In a folder of the data directory.
    Folder(PathBuf),
    /// In a bucket, `s3://bucket/prefix`.
    Bucket(Url),
}

impl Location {
    /// Reads the address of a bucket.
    ///
    /// # Errors
    ///
    /// [`Error::Location`] when it is none.
    pub fn parse(text: &str) -> Result<Url, Error> {
        let refused = || Error::Location { text: without_secret(text) };
        let url = Url::parse(text).map_err(|_| refused())?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        let is_plain = is_plain && url.query().is_none() && url.fragment().is_none();
        let has_bucket =
            url.scheme() == "s3" && url.host_str().is_some_and(|host| !host.is_empty());
        if has_bucket && is_plain { Ok(url) } else { Err(refused()) }
    }

    /// Returns where the tables of a data directory are; `None` when it has none.
    ///
    /// # Errors
    ///
    /// [`Error::Place`] when the system refuses, [`Error::Location`] when what is noted is none.
    pub fn of(data: &Path) -> Result<Option<Self>, Error> {
        match std::fs::read_to_string(data.join(ELSEWHERE)) {
            Ok(text) => Self::parse(text.trim()).map(|url| Some(Self::Bucket(url))),
            Err(error) if error.kind() == ErrorKind::NotFound || !data.is_dir() => {
                let folder = data.join(TABLES);
                Ok(folder.is_dir().then_some(Self::Folder(folder)))
            }
            Err(cause) => Err(Error::Place { cause }),
        }
    }

    /// Returns where the tables of a data directory are or are to be: where it has none yet, in a
    /// bucket if one is named, which is noted.
    ///
    /// # Errors
    ///
    /// As [`Location::of`]; [`Error::Elsewhere`] when it has them in another place.
    pub fn made(data: &Path, bucket: Option<&Url>) -> Result<Self, Error> {
        match (Self::of(data)?, bucket) {
            (Some(Self::Bucket(is)), Some(asked)) if is != *asked => {
                Err(Error::Elsewhere { is: is.to_string(), asked: asked.to_string() })
            }
            (Some(Self::Folder(_)), Some(asked)) => {
                Err(Error::Elsewhere { is: TABLES.to_owned(), asked: asked.to_string() })
            }
            (Some(known), _) => Ok(known),
            (None, Some(asked)) => {
                note(data, asked).map_err(|cause| Error::Place { cause })?;
                Ok(Self::Bucket(asked.clone()))
            }
            (None, None) => Ok(Self::Folder(data.join(TABLES))),
        }
    }

    /// Opens the place. What a bucket asks for, credentials among it, is in the environment
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`, ...).
    ///
    /// # Errors
    ///
    /// [`Error::Bucket`] when something is missing.
    pub fn store(&self) -> Result<Arc<dyn ObjectStore>, Error> {
        match self {
            Self::Folder(folder) => Ok(Arc::new(DiskStore::new(Arc::new(LocalDisk), folder))),
            Self::Bucket(url) => {
                let settings = std::env::vars().filter(|(name, _)| name.starts_with(SETTINGS));
                let opened = object_store::parse_url_opts(url, settings);
                let (store, prefix) = opened.map_err(|cause| Error::Bucket { cause })?;
                Ok(Arc::new(PrefixStore::new(store, prefix)))
            }
        }
    }
}

/// Notes in a data directory where its tables are, safe from a power cut.
fn note(data: &Path, url: &Url) -> std::io::Result<()> {
    let unfinished = data.join(format!("{ELSEWHERE}.unfinished"));
    let mut file = std::fs::File::create(&unfinished)?;
    writeln!(file, "{url}")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, data.join(ELSEWHERE))?;
    std::fs::File::open(data)?.sync_all()
}

/// Returns what may be shown of an address: not what stands before an `@`, nor behind a `?`.
fn without_secret(text: &str) -> String {
    let shown = text.split(['?', '#']).next().unwrap_or_default();
    match shown.rsplit_once('@') {
        Some((_, host)) => format!("...@{host}"),
        None => shown.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_buckets() {
        for good in ["s3://bucket", "s3://bucket/a/prefix of it"] {
            assert!(Location::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "bucket", "s3://", "file:///tmp", "http://host/a", "s3://b/c?d=e"] {
            assert!(Location::parse(bad).is_err(), "{bad}");
        }
        let said = Location::parse("s3://key:secret@bucket/a?token=secret").unwrap_err();
        assert!(!said.to_string().contains("secret"), "{said}");
    }

    #[test]
    fn a_directory_keeps_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let bucket = |name: &str| Location::parse(&format!("s3://{name}/p")).unwrap();
        assert_eq!(Location::of(data).unwrap(), None);
        assert_eq!(Location::of(&data.join("none")).unwrap(), None);
        assert_eq!(Location::made(data, None).unwrap(), Location::Folder(data.join(TABLES)));
        assert_eq!(
            Location::made(data, Some(&bucket("a"))).unwrap(),
            Location::Bucket(bucket("a"))
        );
        assert_eq!(Location::made(data, None).unwrap(), Location::Bucket(bucket("a")));
        assert_eq!(Location::of(data).unwrap(), Some(Location::Bucket(bucket("a"))));
        let refused = Location::made(data, Some(&bucket("b"))).unwrap_err().to_string();
        assert!(refused.contains("s3://a/p") && refused.contains("s3://b/p"), "{refused}");
    }
}
