//! Test support: servers, and clients to test them with.

mod bucket;
mod client;
mod cluster;
mod metrics;
mod nodes;
mod process;
mod program;
mod proxy;
mod raw;
mod routes;
mod server;
mod socket;
mod token;
mod wait;

pub use bucket::Bucket;
pub use client::{Answer, Client, http};
pub use cluster::Cluster;
pub use nodes::{Bus, Node, two_nodes};
pub use process::raise_the_limit_of_files;
pub use program::{run, run_to_its_end};
pub use proxy::{Loss, Proxy, Road};
pub use raw::RawConnection;
pub use routes::Route;
pub use server::{Backend, Server, ServerBuilder};
pub use socket::Socket;
pub use token::{token, token_until, unsigned_token};
pub use wait::until;

/// Password of every user in the demo data.
pub const PASSWORD: &str = "123456";
pub const ADMIN: &str = "admin@gmail.com";
pub const JOHN: &str = "john@example.com";
pub const JANE: &str = "jane@example.com";
pub const BOB: &str = "bob@example.com";
/// Tenant of the support chat.
pub const DEEPAK: &str = "deepak@tis.co.th";

/// Marker object, which names the workspace of the files in its directory.
pub const MARKER: &str = "dragoman-workspace";

/// All files below a directory, except for the marker.
pub fn files_below(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("the directory can be listed").path());
    let paths = paths.filter(|path| path.file_name().is_none_or(|name| name != MARKER));
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
