//! Archives, taken apart and put together again.

use std::{fs::File, io::Read, path::Path};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

/// Contents of an archive.
pub struct Archive {
    pub description: Value,
    pub rows: Vec<u8>,
    /// Names and bytes.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Archive {
    pub fn read(archive: &Path) -> Self {
        let mut members = Vec::new();
        for member in tar::Archive::new(File::open(archive).unwrap()).entries().unwrap() {
            let mut member = member.unwrap();
            let name = String::from_utf8(member.path_bytes().into_owned()).unwrap();
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).unwrap();
            members.push((name, bytes));
        }
        let mut members = members.into_iter();
        let description = serde_json::from_slice(&members.next().unwrap().1).unwrap();
        let (_, rows) = members.next().unwrap();
        let files = members.filter_map(|(name, bytes)| Some((name.strip_prefix("files/")?.to_owned(), bytes)));
        Self { description, rows, files: files.collect() }
    }

    /// Writes an archive with the right digests, and any names.
    pub fn write(&self, archive: &Path) {
        let mut tar = Builder::new(File::create(archive).unwrap());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            tar.append(&header, bytes).unwrap();
        };
        let sha256 = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        let mut description = self.description.clone();
        description["rows"] = json!({"bytes": self.rows.len(), "sha256": sha256(&self.rows)});
        add("backup.json", description.to_string().as_bytes());
        add(if description["storage"] == "sqlite" { "dragoman.db" } else { "dragoman.dump" }, &self.rows);
        let (mut lines, mut size) = (String::new(), 0);
        for (name, bytes) in &self.files {
            add(&format!("files/{name}"), bytes);
            lines += &format!("{}  {name}\n", sha256(bytes));
            size += bytes.len();
        }
        let complete = json!({"count": self.files.len(), "bytes": size, "sha256": sha256(lines.as_bytes())});
        add("complete.json", complete.to_string().as_bytes());
        tar.finish().unwrap();
    }
}
