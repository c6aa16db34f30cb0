//! [`Location`]: where the tables of a data directory are.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig};
use timesink_store::{LocalDisk, PUBLIC, write_whole};
use url::Url;

use crate::{DiskStore, Error};

/// The folder of the tables in a data directory.
pub const TABLES: &str = "tables";

/// The file in a data directory that says where its tables are, if they are not in it.
const ELSEWHERE: &str = "tables.url";

/// The name of a data directory, in it and in its bucket.
const OWNER: &str = "timesink.owner";

/// A request that fails is sent so often again, and for so long: whoever asks tries again later.
const RETRIES_MAX: usize = 3;
const RETRY_TIME_MAX: Duration = Duration::from_secs(10);

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
    /// Returns whether nothing is there.
    ///
    /// # Errors
    ///
    /// [`Error::Bucket`] when that cannot be told.
    pub async fn is_empty(&self) -> Result<bool, Error> {
        let mut listed = self.store()?.list(None);
        let first = listed.try_next().await.map_err(|cause| Error::Bucket { cause })?;
        Ok(first.is_none())
    }

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
            Err(cause) => Err(Error::Place { file: ELSEWHERE, cause }),
        }
    }

    /// Returns where the tables of a data directory are or are to be: where it has none yet, in a
    /// bucket if one is named. [`claim`] notes that.
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
            (None, Some(asked)) => Ok(Self::Bucket(asked.clone())),
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
                let retry = RetryConfig {
                    max_retries: RETRIES_MAX,
                    retry_timeout: RETRY_TIME_MAX,
                    ..RetryConfig::default()
                };
                let bucket = AmazonS3Builder::new().with_url(url.as_str()).with_retry(retry);
                let bucket =
                    settings().fold(bucket, |bucket, (key, value)| bucket.with_config(key, value));
                let failed = |cause| Error::Bucket { cause };
                let bucket = bucket.build().map_err(failed)?;
                let prefix = object_store::path::Path::from_url_path(url.path());
                let prefix = prefix.map_err(|cause| failed(cause.into()))?;
                Ok(Arc::new(PrefixStore::new(bucket, prefix)))
            }
        }
    }
}

/// Makes sure that tables in a bucket are of this data directory alone, and notes the bucket in it:
/// two that write there would take each other's spans for their own.
///
/// # Errors
///
/// [`Error::Owned`] when they are of another one, [`Error::Place`] and [`Error::Bucket`] when that
/// cannot be told.
pub async fn claim(data: &Path, location: &Location) -> Result<(), Error> {
    let Location::Bucket(url) = location else { return Ok(()) };
    let store = location.store()?;
    let ours = owner(data).map_err(|cause| Error::Place { file: OWNER, cause })?;
    let path = object_store::path::Path::from(OWNER);
    let create = PutOptions::from(PutMode::Create);
    let failed = |cause| Error::Bucket { cause };
    match store.put_opts(&path, ours.clone().into(), create).await {
        Ok(_) => {}
        // Also when an answer was lost, and it is ours.
        Err(object_store::Error::AlreadyExists { .. }) => {
            let found = async { store.get(&path).await?.bytes().await };
            if found.await.map_err(failed)? != ours.as_bytes() {
                return Err(Error::Owned { bucket: url.to_string() });
            }
        }
        Err(cause) => return Err(failed(cause)),
    }
    if Location::of(data)?.is_none() {
        let noted = write_whole(data, ELSEWHERE, &format!("{url}\n"), PUBLIC);
        noted.map_err(|cause| Error::Place { file: ELSEWHERE, cause })?;
    }
    Ok(())
}

/// Returns the name that a data directory has for itself, made when it is asked for first.
fn owner(data: &Path) -> std::io::Result<String> {
    let path = data.join(OWNER);
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut name = [0; 16];
            getrandom::fill(&mut name)?;
            let name = format!("{:032x}", u128::from_le_bytes(name));
            write_whole(data, OWNER, &name, PUBLIC)?;
            Ok(name)
        }
        read => read,
    }
}

/// Returns what an object store is told by the environment.
fn settings() -> impl Iterator<Item = (AmazonS3ConfigKey, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(SETTINGS))?;
        Some((name.to_ascii_lowercase().parse().ok()?, value.into_string().ok()?))
    })
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
        assert_eq!(Location::of(data).unwrap(), None, "it is noted once it is claimed");
        write_whole(data, ELSEWHERE, "s3://a/p\n", PUBLIC).unwrap();
        assert_eq!(Location::made(data, None).unwrap(), Location::Bucket(bucket("a")));
        assert_eq!(Location::of(data).unwrap(), Some(Location::Bucket(bucket("a"))));
        let refused = Location::made(data, Some(&bucket("b"))).unwrap_err().to_string();
        assert!(refused.contains("s3://a/p") && refused.contains("s3://b/p"), "{refused}");
    }
}
