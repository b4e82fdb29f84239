//! Streams and datagrams over an established connection.

use std::time::Duration;

use bytes::Bytes;
use quinn_proto::{Dir, StreamId, WriteError};

use crate::pair::{FAIR, INITIATOR, Pair, RESPONDER, Weather};

fn pattern(offset: usize) -> u8 {
    (offset.wrapping_mul(31) >> 3) as u8
}

/// One stream from the initiator to the responder that checks every byte.
struct Transfer {
    stream: StreamId,
    len: usize,
    written: usize,
    read: usize,
}

impl Transfer {
    fn start(pair: &mut Pair, len: usize) -> Self {
        let stream = pair.hosts[INITIATOR]
            .connection()
            .streams()
            .open(Dir::Bi)
            .unwrap();
        Self {
            stream,
            len,
            written: 0,
            read: 0,
        }
    }

    /// Writes and reads what can be; true when all has arrived.
    fn step(&mut self, pair: &mut Pair) -> bool {
        while self.written < self.len {
            let end = self.len.min(self.written + 64 * 1_024);
            let chunk: Vec<u8> = (self.written..end).map(pattern).collect();
            match pair.hosts[INITIATOR]
                .connection()
                .send_stream(self.stream)
                .write(&chunk)
            {
                Ok(written) => self.written += written,
                Err(WriteError::Blocked) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let connection = pair.hosts[RESPONDER].connection();
        let mut stream = connection.recv_stream(self.stream);
        if let Ok(mut chunks) = stream.read(true) {
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                for byte in chunk.bytes {
                    assert_eq!(byte, pattern(self.read), "at {}", self.read);
                    self.read += 1;
                }
            }
            let _ = chunks.finalize();
        }
        self.read == self.len
    }
}

#[test]
fn bytes_arrive_in_order_and_whole_in_bad_weather() {
    let weather = Weather {
        loss: 3,
        duplication: 5,
        reordering: 10,
        corruption: 2,
    };
    let mut pair = Pair::new();
    pair.establish();
    pair.weather = weather;
    let mut transfer = Transfer::start(&mut pair, 512 << 10);
    assert!(pair.run(Duration::from_secs(120), |pair| transfer.step(pair)));
}

#[test]
fn forced_key_updates_on_both_sides_leave_the_transfer_intact() {
    for weather in [
        FAIR,
        Weather {
            loss: 1,
            duplication: 2,
            reordering: 5,
            corruption: 1,
        },
    ] {
        let mut pair = Pair::new();
        pair.establish();
        pair.weather = weather;
        let mut transfer = Transfer::start(&mut pair, 2 << 20);
        let mut steps = 0;
        assert!(pair.run(Duration::from_secs(300), |pair| {
            steps += 1;
            pair.hosts[steps % 2].connection().force_key_update();
            transfer.step(pair)
        }));
        assert!(steps > 50, "only {steps} chances for a key update");
    }
}

#[test]
fn datagrams_arrive_up_to_the_largest_size_and_not_one_byte_further() {
    let mut pair = Pair::new();
    pair.establish();
    let max = pair.hosts[INITIATOR]
        .connection()
        .datagrams()
        .max_size()
        .unwrap();
    let small = Bytes::from_static(b"small");
    let large = Bytes::from(vec![7; max]);
    for datagram in [&small, &large] {
        pair.hosts[INITIATOR]
            .connection()
            .datagrams()
            .send(datagram.clone(), false)
            .unwrap();
    }
    let too_large = Bytes::from(vec![7; max + 1]);
    assert!(
        pair.hosts[INITIATOR]
            .connection()
            .datagrams()
            .send(too_large, false)
            .is_err()
    );
    let mut received = Vec::new();
    assert!(pair.run(Duration::from_secs(1), |pair| {
        received.extend(pair.hosts[RESPONDER].connection().datagrams().recv());
        received.len() == 2
    }));
    assert_eq!(received, [small, large]);
}

#[test]
fn the_packet_size_grows_to_the_upper_bound_where_the_path_allows_it() {
    let mut pair = Pair::new();
    pair.establish();
    let mut transfer = Transfer::start(&mut pair, 1 << 20);
    assert!(pair.run(Duration::from_secs(60), |pair| transfer.step(pair)));
    assert_eq!(pair.hosts[INITIATOR].connection().current_mtu(), 1_472);
}

#[test]
fn five_thousand_small_writes_to_a_reader_that_sleeps_do_not_end_the_connection() {
    let mut pair = Pair::new();
    pair.establish();
    let stream = pair.hosts[INITIATOR]
        .connection()
        .streams()
        .open(Dir::Bi)
        .unwrap();
    let mut writes = 0;
    pair.run(Duration::from_secs(60), |pair| {
        let connection = pair.hosts[INITIATOR].connection();
        if connection.send_stream(stream).write(&[1; 100]).is_ok() {
            writes += 1;
            connection.ping();
        }
        writes == 5_000
    });
    assert_eq!(writes, 5_000);
    pair.run(Duration::from_secs(1), |_| false);
    assert!(pair.hosts.iter().all(|host| host.fault().is_none()));
    let mut read = 0;
    let connection = pair.hosts[RESPONDER].connection();
    let mut receiver = connection.recv_stream(stream);
    let mut chunks = receiver.read(true).unwrap();
    while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
        read += chunk.bytes.len();
    }
    let _ = chunks.finalize();
    assert_eq!(read, 500_000);
}
