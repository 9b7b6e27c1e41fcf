//! An S3 server in the test process.

use std::{net::SocketAddr, path::PathBuf};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    auth::SimpleAuth,
    s3_error,
    service::S3ServiceBuilder,
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use super::server::ServerBuilder;

const NAME: &str = "bucket";
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// An S3 server with one bucket. It checks signatures and their expiry; objects are public.
pub struct Bucket {
    directory: TempDir,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

/// The usual bucket policy for public files. A missing bucket grants nothing.
struct PublicRead {
    bucket: PathBuf,
    /// True if conditional puts (`If-None-Match: *`) are supported.
    knows_conditions: bool,
}

#[async_trait::async_trait]
impl S3Access for PublicRead {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if !self.bucket.exists() {
            return Err(s3_error!(NoSuchBucket));
        }
        if !self.knows_conditions && context.headers().contains_key("If-None-Match") {
            return Err(s3_error!(NotImplemented));
        }
        let reads = ["GetObject", "HeadObject"].contains(&context.s3_op().name());
        if reads || context.credentials().is_some() { Ok(()) } else { Err(s3_error!(AccessDenied)) }
    }
}

impl Bucket {
    pub async fn start() -> Self {
        Self::serving(true).await
    }

    /// A bucket without conditional puts, like some implementations other than Amazon's.
    pub async fn without_conditions() -> Self {
        Self::serving(false).await
    }

    async fn serving(knows_conditions: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        std::fs::create_dir(directory.path().join(NAME)).expect("a bucket is a directory");
        let mut service = S3ServiceBuilder::new(FileSystem::new(directory.path()).expect("the directory is there"));
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        service.set_access(PublicRead { bucket: directory.path().join(NAME), knows_conditions });
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        let serving = tokio::spawn(async move {
            // Connections, which end with this task.
            let mut connections = JoinSet::new();
            loop {
                let (connection, _) = listener.accept().await.expect("connections can be accepted");
                let service = service.clone();
                // Connection errors are up to the client.
                connections.spawn(async move {
                    drop(http1::Builder::new().serve_connection(TokioIo::new(connection), service).await);
                });
            }
        });
        Self { directory, address, serving }
    }

    /// Sets this bucket as the file storage of a server, below a prefix.
    pub fn holds_the_files_of(&self, server: ServerBuilder) -> ServerBuilder {
        server
            .set("FILES", format!("s3://{NAME}/some/prefix"))
            .env("AWS_ENDPOINT", format!("http://{}", self.address))
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
    }

    /// URL of the bucket.
    pub fn url(&self) -> String {
        format!("http://{}/{NAME}", self.address)
    }

    /// Path of an object below the prefix.
    pub fn file(&self, object: &str) -> PathBuf {
        self.path().join("some/prefix").join(object)
    }

    /// Paths of all objects, except for the marker.
    pub fn objects(&self) -> Vec<PathBuf> {
        super::files_below(&self.path())
    }

    /// Paths of parts of unfinished multipart uploads.
    pub fn unfinished(&self) -> Vec<PathBuf> {
        let is_part = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".upload"));
        super::files_below(self.directory.path()).into_iter().filter(is_part).collect()
    }

    /// Deletes the bucket with all objects.
    pub fn vanish(&self) {
        std::fs::remove_dir_all(self.path()).expect("it was there");
    }

    /// Stops the server.
    pub async fn stop(&mut self) {
        self.serving.abort();
        assert!((&mut self.serving).await.is_err_and(|ended| ended.is_cancelled()), "it served until now");
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(NAME)
    }
}
