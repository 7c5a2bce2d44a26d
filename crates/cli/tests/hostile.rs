//! Clients that mean no good, or whose networks do not: a broker process closes their connections, takes no more memory than is allowed, and
//! serves the others on.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tidewater_protocol::{BatchBuilder, Compression};
use tidewater_types::{Headers, Timestamp};

/// How long a well-behaved client waits.
const PATIENCE: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 10_000;
/// Files that a test needs besides its connections.
const FILES: u64 = 500;
const MIB: u64 = 1 << 20;

struct Broker {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Broker {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_tidewater"))
            .args(["broker", "--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        let address = said.split("listens at ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
        Broker { process, address, _folder: folder }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Memory in bytes: what there is now, or the most that there was.
    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    /// A well-behaved client writes records, also large ones, and is told that they are there.
    fn serves(&self) {
        let producer: BaseProducer =
            self.config().set("message.max.bytes", "1000000").set("acks", "all").create().unwrap();
        for size in [10, 500_000] {
            let value = "v".repeat(size);
            producer.send(BaseRecord::to("well-behaved").key("k").payload(&value)).unwrap();
            producer.flush(PATIENCE).unwrap();
        }
        let consumer: BaseConsumer = self.config().create().unwrap();
        let (_, high) = consumer.fetch_watermarks("well-behaved", 0, PATIENCE).unwrap();
        assert!(high >= 2);
    }
}

/// A frame: its length, the header of a request of version 1, and a body.
fn frame(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(7i32.to_be_bytes());
    frame.extend((-1i16).to_be_bytes());
    frame.extend(body);
    [&(frame.len() as i32).to_be_bytes()[..], &frame].concat()
}

/// What comes back until the connection is closed.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    rest
}

#[test]
fn what_is_no_request_ends_its_connection_only() {
    let broker = Broker::start();
    let mut state = 1u64;
    let mut random = |length: usize| -> Vec<u8> {
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| byte()).collect()
    };
    let many = 1_000_000_000i32.to_be_bytes();
    let mut evil: Vec<Vec<u8>> = vec![
        (-1i32).to_be_bytes().to_vec(),
        i32::MAX.to_be_bytes().to_vec(),
        ((100 << 20) + 1i32).to_be_bytes().to_vec(),
        [&4i32.to_be_bytes()[..], b"abcd"].concat(),
        frame(9_999, 0, b""),
        frame(3, 99, b""),
        // Metadata of 10⁹ topics; a produce request with as many; a fetch, and a group with as many protocols.
        frame(3, 4, &many),
        frame(0, 3, &[&[0xff, 0xff, 0, 1, 0, 0, 0, 1][..], &many].concat()),
        frame(1, 4, &[&[0xff; 4][..], &[0; 13], &many].concat()),
        frame(11, 0, &[&[0, 1, b'g', 0, 0, 0x75, 0x30, 0, 0, 0, 0][..], &many].concat()),
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
    ];
    evil.extend((0..40).map(|length| random(length * 7 + 1)));
    let before = broker.memory("VmRSS");
    for bytes in evil {
        let mut stream = broker.connect();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        rest(&mut stream);
    }
    let taken = broker.memory("VmHWM").saturating_sub(before);
    assert!(taken < 16 * MIB, "{taken} bytes were taken for nothing");
    broker.serves();
}

#[test]
fn a_version_that_is_not_known_is_answered_once() {
    let broker = Broker::start();
    let mut stream = broker.connect();
    stream.write_all(&frame(18, 99, b"")).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    // UNSUPPORTED_VERSION, and the connection goes on.
    assert_eq!((&answer[4..8], &answer[8..10]), (&7i32.to_be_bytes()[..], &35i16.to_be_bytes()[..]));
    let length = i32::from_be_bytes(answer[..4].try_into().unwrap()) as usize;
    stream.read_exact(&mut vec![0; length - 6]).unwrap();
    stream.write_all(&frame(18, 0, b"")).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[8..10], &[0, 0]);
}

#[test]
fn half_requests_take_no_more_memory_than_they_have_sent() {
    let broker = Broker::start();
    broker.serves();
    let before = broker.memory("VmRSS");
    let half = [&(90i32 << 20).to_be_bytes()[..], &[0; 8_000]].concat();
    let streams: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = broker.connect();
            stream.write_all(&half).unwrap();
            stream
        })
        .collect();
    broker.serves();
    let taken = broker.memory("VmRSS").saturating_sub(before);
    // Each claims 90 MiB, and has sent 8 KiB.
    assert!(taken < 100 * MIB, "{taken} bytes for {} half requests", streams.len());
}

/// Large requests that come to a stand, whose memory others wait for.
fn slow_writers(count: usize, mib_each: usize) {
    let broker = Broker::start();
    let part = vec![0; 1 << 20];
    let slow: Vec<TcpStream> = (0..count)
        .map(|_| {
            let mut stream = broker.connect();
            stream.write_all(&(99i32 << 20).to_be_bytes()).unwrap();
            // As much as is taken; where there is no more memory, the rest waits in the network.
            stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            for _ in 0..mib_each {
                if stream.write_all(&part).is_err() {
                    break;
                }
            }
            stream
        })
        .collect();
    broker.serves();
    let most = broker.memory("VmHWM");
    assert!(most < 450 * MIB, "{most} bytes at most, with {} slow writers", slow.len());
}

#[test]
fn a_few_slow_writers_give_way_to_others() {
    slow_writers(6, 60);
}

#[test]
fn many_slow_writers_give_way_to_others() {
    slow_writers(300, 2);
}

#[test]
fn slow_readers_hold_up_nobody() {
    let broker = Broker::start();
    broker.serves();
    let before = broker.memory("VmRSS");
    // Each asks for all topics again and again, and reads no answer.
    let asks = frame(3, 4, &[0xff, 0xff, 0xff, 0xff, 0]).repeat(200);
    let streams: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = broker.connect();
            stream.set_nonblocking(true).unwrap();
            while stream.write(&asks).is_ok() {}
            stream
        })
        .collect();
    broker.serves();
    let taken = broker.memory("VmRSS").saturating_sub(before);
    assert!(taken < 64 * MIB, "{taken} bytes for {} slow readers", streams.len());
}

#[test]
fn packed_records_do_not_unpack_to_all_memory() {
    let broker = Broker::start();
    broker.serves();
    let bomb = vec![0; 100 << 20];
    for codec in [Compression::Gzip, Compression::Zstd, Compression::Lz4, Compression::Snappy] {
        let mut builder = BatchBuilder::new(codec);
        builder.push(Timestamp(0), Some(b"k"), Some(&bomb), &Headers::EMPTY);
        let batch = builder.finish().unwrap();
        let mut body: Vec<u8> = Vec::new();
        body.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0x75, 0x30, 0, 0, 0, 1, 0, 12]);
        body.extend(b"well-behaved");
        body.extend([0, 0, 0, 1, 0, 0, 0, 0]);
        body.extend((batch.len() as i32).to_be_bytes());
        body.extend(&batch[..]);
        let mut stream = broker.connect();
        stream.write_all(&frame(0, 7, &body)).unwrap();
        let mut answer = [0; 4 + 4 + 4 + 2 + 12 + 4 + 4 + 2];
        stream.read_exact(&mut answer).unwrap();
        // MESSAGE_TOO_LARGE
        assert_eq!(answer[answer.len() - 2..], [0, 10], "{codec:?}, {} bytes packed", batch.len());
    }
    let most = broker.memory("VmHWM");
    assert!(most < 300 * MIB, "{most} bytes at most");
    broker.serves();
}

#[test]
fn ten_thousand_connections_are_served() {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    if files < CONNECTIONS as u64 + FILES {
        eprintln!("not run: {files} files may be open, {CONNECTIONS} connections are wanted");
        return;
    }
    let broker = Broker::start();
    broker.serves();
    let before = broker.memory("VmRSS");
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| broker.connect()).collect();
    // They are not idle from the first: each has asked once.
    let ask = frame(18, 0, b"");
    for stream in &mut streams {
        stream.write_all(&ask).unwrap();
    }
    for stream in &mut streams {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        stream.read_exact(&mut vec![0; i32::from_be_bytes(length) as usize]).unwrap();
    }
    broker.serves();
    let each = broker.memory("VmRSS").saturating_sub(before) / CONNECTIONS as u64;
    assert!(each < 16 << 10, "{each} bytes for a connection");
    drop(streams);
    broker.serves();
    let producer: BaseProducer = broker.config().create().unwrap();
    assert!(producer.client().fetch_metadata(None, PATIENCE).is_ok());
}
