//! Servers to test, and clients to test them with.

mod client;
mod metrics;
mod program;
mod proxy;
mod raw;
mod routes;
mod server;
mod socket;
mod wait;

pub use client::{Answer, Client};
pub use program::{run, run_to_its_end};
pub use proxy::{Proxy, Road};
pub use raw::RawConnection;
pub use routes::Route;
pub use server::{Backend, Server};
pub use socket::Socket;
pub use wait::until;

/// Everybody in the demo data has it.
pub const PASSWORD: &str = "123456";
pub const ADMIN: &str = "admin@gmail.com";
pub const JOHN: &str = "john@example.com";
pub const JANE: &str = "jane@example.com";
pub const BOB: &str = "bob@example.com";
