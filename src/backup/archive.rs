//! Archive of a backup: a tar file, which is written and read from its begin to its end.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use storage::{RowCounts, Timestamp};
use tar::{Builder, Entries, Entry, EntryType, Header};
use uuid::Uuid;

use super::error::{BackupError, Result};
use crate::blobs::is_object_name;

/// Version of the form of archives.
pub(super) const FORMAT: u32 = 1;
const DESCRIPTION: &str = "backup.json";
const COMPLETE: &str = "complete.json";
/// Folder of the files.
const FILES: &str = "files/";
/// Size limit of a member that is JSON.
const JSON_BYTES: u64 = 64 * 1024;
/// Extended header with the content type of a file.
const CONTENT_TYPE: &str = "DRAGOMAN.content-type";
/// Read buffer of an archive.
const BUFFER: usize = 256 * 1024;

/// First member of an archive.
#[derive(Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) format: u32,
    /// Version of the program.
    pub(super) version: String,
    /// Time by which all rows were committed.
    pub(super) taken_at: Timestamp,
    pub(super) workspace: Uuid,
    /// Kind of the store: `sqlite` or `postgres`.
    pub(super) storage: String,
    /// Version of the schema.
    pub(super) schema: i64,
    pub(super) counts: RowCounts,
    pub(super) rows: MemberDigest,
}

/// Size and SHA-256 of a member.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemberDigest {
    bytes: u64,
    sha256: String,
}

/// Last member of an archive.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedFiles {
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// SHA-256 of the lines that `sha256sum` would print of the files in their order, without the folder.
    sha256: String,
}

/// Member of an archive with rows or bytes.
pub(super) enum Member {
    Rows,
    File { name: String, content_type: Option<String> },
}

/// Name of the member with the rows.
fn rows_name(kind: &str) -> &'static str {
    if kind == "sqlite" { "dragoman.db" } else { "dragoman.dump" }
}

/// Reader that counts and hashes.
struct HashingReader<R> {
    reader: R,
    bytes: u64,
    sha256: Sha256,
}

impl<R: Read> HashingReader<R> {
    fn new(reader: R) -> Self {
        Self { reader, bytes: 0, sha256: Sha256::new() }
    }

    fn digest(self) -> MemberDigest {
        MemberDigest { bytes: self.bytes, sha256: hex::encode(self.sha256.finalize()) }
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.bytes += read as u64;
        self.sha256.update(&buffer[..read]);
        Ok(read)
    }
}

impl MemberDigest {
    pub(super) fn of_file(file: &Path) -> io::Result<Self> {
        let mut reader = HashingReader::new(File::open(file)?);
        io::copy(&mut reader, &mut io::sink())?;
        Ok(reader.digest())
    }
}

/// Digest of all files so far.
#[derive(Default)]
struct FilesDigest {
    count: u64,
    bytes: u64,
    sha256: Sha256,
}

impl FilesDigest {
    fn add(&mut self, name: &str, file: &MemberDigest) {
        self.count += 1;
        self.bytes += file.bytes;
        self.sha256.update(format!("{}  {name}\n", file.sha256));
    }

    fn finish(self) -> SavedFiles {
        SavedFiles { count: self.count, bytes: self.bytes, sha256: hex::encode(self.sha256.finalize()) }
    }
}

/// Archive that is being written.
pub(super) struct ArchiveWriter<W: Write> {
    tar: Builder<W>,
    taken_at: Timestamp,
    files: FilesDigest,
}

impl<W: Write> ArchiveWriter<W> {
    pub(super) fn begin(writer: W, description: &Description) -> io::Result<Self> {
        let (tar, taken_at) = (Builder::new(writer), description.taken_at);
        let mut archive = Self { tar, taken_at, files: FilesDigest::default() };
        archive.add_json(DESCRIPTION, description)?;
        Ok(archive)
    }

    pub(super) fn add_rows(&mut self, description: &Description, rows: &Path) -> io::Result<()> {
        let file = File::open(rows)?;
        let found = self.add(rows_name(&description.storage), description.rows.bytes, file)?;
        if found == description.rows { Ok(()) } else { Err(io::Error::other("the rows have changed meanwhile")) }
    }

    pub(super) fn add_file(&mut self, name: &str, content_type: Option<&str>, bytes: u64, file: impl Read) -> io::Result<()> {
        if let Some(content_type) = content_type {
            self.tar.append_pax_extensions([(CONTENT_TYPE, content_type.as_bytes())])?;
        }
        let digest = self.add(&format!("{FILES}{name}"), bytes, file)?;
        self.files.add(name, &digest);
        Ok(())
    }

    /// Ends the archive. Returns what files it has, and the writer.
    pub(super) fn finish(mut self) -> io::Result<(SavedFiles, W)> {
        let files = std::mem::take(&mut self.files).finish();
        self.add_json(COMPLETE, &files)?;
        Ok((files, self.tar.into_inner()?))
    }

    fn add_json(&mut self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(value)?;
        self.add(name, text.len() as u64, text.as_slice()).map(drop)
    }

    fn add(&mut self, name: &str, bytes: u64, data: impl Read) -> io::Result<MemberDigest> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(self.taken_at.timestamp().max(0).unsigned_abs());
        let mut reader = HashingReader::new(data.take(bytes));
        self.tar.append_data(&mut header, name, &mut reader)?;
        if reader.bytes != bytes {
            let read = reader.bytes;
            return Err(io::Error::other(format!("{name} has {bytes} bytes, of which {read} could be read")));
        }
        Ok(reader.digest())
    }
}

/// Reads an archive, and gives each member but those of JSON to `take`, which need not read all of it.
///
/// # Errors
/// `Damaged` if it is no archive of this form, or any digest is wrong, which may be found after all members were given; `Newer`
/// for the form of a newer version; those of `take`.
pub(super) fn read(file: &Path, mut take: impl FnMut(Member, &mut dyn Read) -> Result<()>) -> Result<(Description, SavedFiles)> {
    let damaged = |what: &str| BackupError::damaged(file, what);
    let opened = File::open(file).map_err(|error| BackupError::io(file, error))?;
    let mut archive = tar::Archive::new(BufReader::with_capacity(BUFFER, opened));
    let mut entries = archive.entries().map_err(|error| damaged(&error.to_string()))?;
    let (name, mut entry) = next(file, &mut entries)?;
    if name != DESCRIPTION {
        return Err(damaged(&format!("it begins with {name}")));
    }
    let description: serde_json::Value = json(file, &mut entry)?;
    if description["format"].as_u64().is_some_and(|format| format > u64::from(FORMAT)) {
        return Err(BackupError::Newer(description["version"].as_str().unwrap_or_default().to_owned()));
    }
    let description: Description = serde_json::from_value(description).map_err(|error| damaged(&error.to_string()))?;
    let (name, entry) = next(file, &mut entries)?;
    if name != rows_name(&description.storage) {
        return Err(damaged(&format!("it has {name} in place of the rows")));
    }
    if checked(file, entry, |rows| take(Member::Rows, rows))? != description.rows {
        return Err(damaged("the rows are not those that were saved"));
    }
    let mut files = FilesDigest::default();
    loop {
        let (name, mut entry) = next(file, &mut entries)?;
        if name == COMPLETE {
            let expected: SavedFiles = json(file, &mut entry)?;
            return if files.finish() == expected {
                Ok((description, expected))
            } else {
                Err(damaged("files are missing or changed"))
            };
        }
        let Some(name) = name.strip_prefix(FILES).filter(|name| is_object_name(name)) else {
            return Err(damaged(&format!("it has {name}")));
        };
        let content_type = content_type(&mut entry).map_err(|error| damaged(&error.to_string()))?;
        let member = Member::File { name: name.to_owned(), content_type };
        files.add(name, &checked(file, entry, |bytes| take(member, bytes))?);
    }
}

/// Finds the next member.
fn next<'a, R: Read>(file: &Path, entries: &mut Entries<'a, R>) -> Result<(String, Entry<'a, R>)> {
    let entry = entries.next().ok_or_else(|| BackupError::damaged(file, "it ends early"))?;
    let entry = entry.map_err(|error| BackupError::damaged(file, error.to_string()))?;
    let name = String::from_utf8(entry.path_bytes().into_owned());
    Ok((name.map_err(|error| BackupError::damaged(file, error.to_string()))?, entry))
}

fn json<T: DeserializeOwned>(file: &Path, entry: &mut impl Read) -> Result<T> {
    serde_json::from_reader(entry.take(JSON_BYTES)).map_err(|error| BackupError::damaged(file, error.to_string()))
}

fn content_type<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Option<String>> {
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if extension.key_bytes() == CONTENT_TYPE.as_bytes() {
            return String::from_utf8(extension.value_bytes().to_owned()).map(Some).map_err(io::Error::other);
        }
    }
    Ok(None)
}

/// Gives a member to `take`, and reads what is left of it.
fn checked<R: Read>(file: &Path, entry: Entry<'_, R>, take: impl FnOnce(&mut dyn Read) -> Result<()>) -> Result<MemberDigest> {
    let mut reader = HashingReader::new(entry);
    take(&mut reader)?;
    io::copy(&mut reader, &mut io::sink()).map_err(|error| BackupError::damaged(file, error.to_string()))?;
    Ok(reader.digest())
}
