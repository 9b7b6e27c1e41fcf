//! The row about memory under a mix of the largest legal inputs.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

use crate::{
    Result,
    children::Server,
    database::Databases,
    http::{self, Request},
    report::{Row, RowTarget},
    requests::session,
    rows::Benchmark,
    socket::handshake,
};

/// People of `mix.sql`, and the conversation that holds all of them.
const PEOPLE: std::ops::RangeInclusive<i64> = 200_001..=200_200;
const CONVERSATION: i64 = 200_000;
const MESSAGE_BYTES: usize = 65_536;
const BODY_BYTES: usize = 1_048_576;
const FRAME_BYTES: usize = 262_144;
const UPLOAD_BYTES: usize = 8 * 1024 * 1024;
/// Pause of each person between two steps. It keeps the sends far below what fills a disk.
const PAUSE: Duration = Duration::from_millis(1_500);
/// Bytes that a slow client transfers at a time, a little more than the minimum rate.
const SLOW_BYTES: usize = 4_096;
const SLOW_PAUSE: Duration = Duration::from_millis(300);
/// Time-out of a slow step.
const STEP_TIMEOUT: Duration = Duration::from_secs(25);

/// The sum of `deploy/GUIDE.md`, "Memory: a sum of named bounds", in MiB: the shared part, and the part of each person
/// with two connections, a socket whose client is slow, and a socket whose client sends.
fn bounds(cores: f64) -> f64 {
    let all = 32.0 + 256.0 + 512.0 + 64.0 + 48.0 + 224.0 + 19.0 * cores;
    let each = 2.0 * 16.0 / 1024.0 + (1.0 + 1.0) + 0.25;
    all + each * PEOPLE.count() as f64
}

impl Benchmark<'_> {
    /// Measures the highest resident memory while 200 people send, read and leave unfinished the largest inputs that
    /// the limits allow.
    pub(super) async fn mix(&self, databases: &Databases) -> Result<()> {
        databases.add_mix_people().await?;
        // Files on disk: in memory they would count as the server's.
        let files = std::env::temp_dir().join(format!("dragoman-bench-mix-{}", std::process::id()));
        let ours = Server::with_files_in(&self.program, &databases.ours, &files)?;
        let seconds = std::env::var("DRAGOMAN_BENCH_MIX_SECONDS").ok().map(|seconds| seconds.parse()).transpose()?;
        let lasts = Duration::from_secs(seconds.unwrap_or(if self.cli.quick { 15 } else { 60 }));
        let mut people = JoinSet::new();
        for person in PEOPLE {
            people.spawn(run_person(ours.address, person));
        }
        let (begun, mut looks, mut highest) = (Instant::now(), interval(Duration::from_secs(1)), 0.0_f64);
        while begun.elapsed() < lasts {
            looks.tick().await;
            highest = highest.max(ours.resident()?);
        }
        people.shutdown().await;
        let cores = std::thread::available_parallelism()?.get() as f64;
        let remark = format!("{} s; {:.0} MiB at the end", lasts.as_secs(), ours.resident()? / 1024.0);
        drop(ours);
        std::fs::remove_dir_all(&files)?;
        self.finish_row(Row {
            key: "memory-mix".into(),
            what: "memory under the largest legal inputs of 200 people".into(),
            limit: "the sum of the bounds".into(),
            unit: "MiB".into(),
            mark: RowTarget::AtMost(1.0),
            rounds: vec![(highest / 1024.0, bounds(cores))],
            remark,
        })
    }
}

/// Cycles through the steps, each person starting with another one. Refusals are expected.
async fn run_person(address: SocketAddr, person: i64) {
    let own = session(person);
    let texts = [text(person), nested(), names()];
    for step in person.. {
        let done = async {
            match step % 10 {
                0 => exchange(address, &call("message/send", &own, &texts[0])).await,
                1 => {
                    read_slowly(address, &call("messages", &own, &format!(r#"{{"thread_id":{CONVERSATION},"limit":200}}"#))).await
                }
                2 => exchange(address, &call("threads", &own, &texts[1])).await,
                3 => send_unfinished(address, &upload(&own)).await,
                4 => send_slowly(address, &call("message/send", &own, &texts[0])).await,
                5 => silent_socket(address, &own).await,
                6 => large_frames(address, &own).await,
                7 => exchange(address, &log_in()).await,
                8 => exchange(address, &http::call("/im_chat/init", &own, "{}")).await,
                _ => exchange(address, &call("thread/create", &own, &texts[2])).await,
            }
        };
        let _ = timeout(STEP_TIMEOUT, done).await;
        sleep(PAUSE).await;
    }
}

fn call(route: &str, session: &str, params: &str) -> Request {
    http::call(&format!("/api/messaging/{route}"), session, params)
}

/// A text of the maximum length, three times as long in JSON.
fn text(person: i64) -> String {
    let body = format!("{person} {}", r"\u00e9".repeat((MESSAGE_BYTES - 8) / 2));
    format!(r#"{{"thread_id":{CONVERSATION},"body":"{body}"}}"#)
}

/// JSON whose parsed tree is many times as large.
fn nested() -> String {
    format!(r#"{{"x":[{}0]}}"#, "[],".repeat((BODY_BYTES - 200) / 3))
}

fn names() -> String {
    let partners = PEOPLE.map(|person| person.to_string()).collect::<Vec<_>>().join(",");
    format!(r#"{{"name":"{}","thread_type":"group","partner_ids":[{partners}]}}"#, "n".repeat(255))
}

fn log_in() -> Request {
    let (login, password) = ("l".repeat(256), "p".repeat(4_096));
    http::call("/web/session/authenticate", "", &format!(r#"{{"db":"odoo2","login":"{login}","password":"{password}"}}"#))
}

fn upload(session: &str) -> Request {
    let head = format!(
        "POST /api/messaging/attachment/upload HTTP/1.1\r\nHost: localhost\r\nCookie: session_id={session}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n\
         --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n",
        2 * UPLOAD_BYTES
    );
    [head.into_bytes(), vec![b'x'; UPLOAD_BYTES]].concat()
}

async fn exchange(address: SocketAddr, request: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut some = vec![0; 65_536];
    while timeout(Duration::from_secs(1), stream.read(&mut some)).await.is_ok_and(|read| read.is_ok_and(|bytes| bytes > 0)) {}
    Ok(())
}

/// Reads the answer as slowly as the server allows.
async fn read_slowly(address: SocketAddr, request: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut some = [0; SLOW_BYTES];
    while stream.read(&mut some).await? > 0 {
        sleep(SLOW_PAUSE).await;
    }
    Ok(())
}

async fn send_slowly(address: SocketAddr, request: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    for part in request.chunks(SLOW_BYTES) {
        stream.write_all(part).await?;
        sleep(SLOW_PAUSE).await;
    }
    Ok(())
}

/// Sends an incomplete request, and then nothing.
async fn send_unfinished(address: SocketAddr, request: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    sleep(STEP_TIMEOUT).await;
    Ok(())
}

async fn open_socket(address: SocketAddr, session: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&handshake(address, &format!("/conversations/{CONVERSATION}/"), session)).await?;
    Ok(stream)
}

/// Opens a socket, and reads nothing.
async fn silent_socket(address: SocketAddr, session: &str) -> Result<()> {
    let _open = open_socket(address, session).await?;
    sleep(STEP_TIMEOUT).await;
    Ok(())
}

/// Sends frames of the maximum length, with a mask of zeros.
async fn large_frames(address: SocketAddr, session: &str) -> Result<()> {
    let mut stream = open_socket(address, session).await?;
    let frame = [&[0x81, 0xff][..], &(FRAME_BYTES as u64).to_be_bytes(), &[0; 4], &vec![b'x'; FRAME_BYTES]].concat();
    for _ in 0..8 {
        stream.write_all(&frame).await?;
        sleep(SLOW_PAUSE).await;
    }
    Ok(())
}
