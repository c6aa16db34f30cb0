//! Clients that are slow, cut off, too many or wrong: a clean close, and others go on.

use std::io::{Read, Write};
use std::time::Duration;

use timesink_server::{Error, Purpose, ReceiverLimits, Server, ServerOptions, Token};

use crate::support::{connect, http1, keys_of, options, post, protobuf, server, spans};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

fn limited(limits: ReceiverLimits) -> ServerOptions {
    ServerOptions { receiver: limits, ..options() }
}

/// Scenario: 200 clients send the first bytes of a request and then nothing (slow loris).
/// Guarantee: others are served as before.
#[test]
fn slow_clients_hold_up_nobody() {
    let (server, address) = server(&options());
    let heads = ["", "P", "PRI * HTTP/2.0\r\n", "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\n"];
    let slow: Vec<_> = (0..200)
        .map(|number| {
            let mut stream = connect(address);
            stream.write_all(heads[number % heads.len()].as_bytes()).expect("it reads");
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(post(address, &[PROTOBUF], &protobuf(1, 0)).status, 200);
    }
    assert_eq!(spans(&server), 20);
    drop(slow);
}

/// Scenario: a client announces a body and does not send it.
/// Guarantee: it is answered 408 once its time is over.
#[test]
fn a_body_that_does_not_come_is_given_up() {
    let limits =
        ReceiverLimits { request_time_max: Duration::from_secs(1), ..ReceiverLimits::default() };
    let (_server, address) = server(&limited(limits));
    let mut stream = connect(address);
    let head = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/x-protobuf\r\ncontent-length: 1000\r\n\r\nfirst bytes";
    stream.write_all(head.as_bytes()).expect("it reads");
    let answer = crate::support::read_answer(stream);
    assert_eq!(answer.status, 408);
}

/// Scenario: connections end in the middle of a request.
/// Guarantee: nothing of them is taken, others go on.
#[test]
fn a_request_that_is_cut_off_leaves_nothing() {
    let (server, address) = server(&options());
    let body = protobuf(3, 0);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    for cut in [0, 1, body.len() / 2, body.len() - 1] {
        let mut stream = connect(address);
        stream.write_all(head.as_bytes()).expect("it reads");
        stream.write_all(&body[..cut]).expect("it reads");
        drop(stream);
    }
    assert_eq!(post(address, &[PROTOBUF], &protobuf(2, 0)).status, 200);
    assert_eq!(spans(&server), 2);
}

/// Scenario: bytes that are no HTTP, and heads without end.
/// Guarantee: the connection is closed, with an answer where there is one.
#[test]
fn bytes_that_are_no_http_are_closed() {
    let (server, address) = server(&options());
    let endless = format!("POST /v1/traces HTTP/1.1\r\nx: {}", "a".repeat(1 << 20));
    let tls = "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03";
    for bytes in [tls, "GET\r\n\r\n", "\0\0\0\0\0", endless.as_str()] {
        let mut stream = connect(address);
        // It may be closed before all is written.
        let _ = stream.write_all(bytes.as_bytes());
        let mut answer = Vec::new();
        // A reset is a close, too.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    }
    assert_eq!(post(address, &[PROTOBUF], &protobuf(1, 0)).status, 200);
    assert_eq!(spans(&server), 1);
}

/// Scenario: more connections than are allowed.
/// Guarantee: those beyond are closed at once; once there is room, others are taken.
#[test]
fn connections_beyond_the_limit_are_closed() {
    let limits = ReceiverLimits { connections_max: 4, ..ReceiverLimits::default() };
    let (_server, address) = server(&limited(limits));
    let open: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = connect(address);
            // It has been accepted once it answers.
            let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
            stream.write_all(request).expect("it reads");
            let mut first = [0];
            stream.read_exact(&mut first).expect("an answer comes");
            stream
        })
        .collect();
    let mut beyond = connect(address);
    let mut nothing = Vec::new();
    let read = beyond.read_to_end(&mut nothing);
    assert!(read.is_err() || nothing.is_empty(), "{nothing:?}");
    drop(open);
    // The places of those that were closed are free a moment later.
    let served = (0..200).any(|_| {
        std::panic::catch_unwind(|| post(address, &[PROTOBUF], &protobuf(1, 0)).status)
            .is_ok_and(|status| status == 200)
    });
    assert!(served);
}

/// Scenario: a server is told to stop while one request is under way, and one is connected.
/// Guarantee: both are answered, and then nothing listens.
#[test]
fn it_finishes_what_is_under_way_when_it_stops() {
    let web = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let (mut server, address) = server(&ServerOptions { web_address: Some(web), ..options() });
    let web = server.addresses().web.expect("a web address");
    let body = protobuf(1, 0);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let mut begun = connect(address);
    begun.write_all(head.as_bytes()).expect("it reads");
    begun.write_all(&body[..4]).expect("it reads");
    // It is under way once its first bytes are held.
    while !http1(web, "GET", "/metrics", &[], b"").text().contains("inflight_bytes 4\n") {
        std::thread::yield_now();
    }
    let mut whole = connect(address);
    whole.write_all(head.as_bytes()).expect("it reads");
    whole.write_all(&body).expect("it reads");
    let stopped = std::thread::scope(|scope| {
        let stopped = scope.spawn(|| server.stop());
        assert_eq!(crate::support::read_answer(whole).status, 200);
        while std::net::TcpStream::connect(address).is_ok() {
            std::thread::yield_now();
        }
        begun.write_all(&body[4..]).expect("it reads");
        assert_eq!(crate::support::read_answer(begun).status, 200);
        stopped.join().expect("it stops")
    });
    assert!(stopped, "everything ended by itself");
    assert_eq!(spans(&server), 2);
}

/// Scenario: many requests come at once, and there is room for few of their spans.
/// Guarantee: what is held passes the limit by what is decoded at a time, not by what waits.
#[test]
fn requests_that_wait_do_not_pass_the_memory_limit() {
    let limits = ReceiverLimits { memory_bytes_max: 100_000, ..ReceiverLimits::default() };
    let (server, address) = server(&limited(limits));
    let message = protobuf(500, 0);
    let taken = std::thread::scope(|scope| {
        let post = || post(address, &[PROTOBUF], &message).status;
        let all: Vec<_> = (0..40).map(|_| scope.spawn(post)).collect();
        let statuses = all.into_iter().map(|one| one.join().expect("an answer comes"));
        statuses.filter(|status| *status == 200).count()
    });
    // A message is larger than the limit: each thread may take one before it is passed.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    assert!((1..=threads).contains(&taken), "{taken} of {threads}");
    assert_eq!(spans(&server), 500 * taken);
}

/// Scenario: a large body is sent to where it is refused whatever it holds.
/// Guarantee: the client sees the answer, not a connection that breaks while it writes.
#[test]
fn a_refusal_reaches_whoever_is_still_writing() {
    let token = Token::parse("0123456789abcdef").expect("a token");
    let (_server, address) = server(&ServerOptions { keys: keys_of(&token), ..options() });
    for _ in 0..10 {
        assert_eq!(post(address, &[PROTOBUF], &vec![0; 4 << 20]).status, 401);
    }
    let (_server, address) = crate::support::server(&options());
    assert_eq!(http1(address, "POST", "/v2/traces", &[PROTOBUF], &vec![0; 4 << 20]).status, 404);
}

/// Scenario: heads of any size.
#[test]
fn a_head_has_a_limit() {
    let (_server, address) = server(&options());
    let long = "a".repeat(200 << 10);
    let answer = post(address, &[PROTOBUF, ("x-long", &long)], b"");
    assert_eq!(answer.status, 431);
}

#[test]
fn only_with_a_token_may_other_machines_reach_it() {
    let open: std::net::SocketAddr = "0.0.0.0:0".parse().expect("an address");
    let exposed = ServerOptions { otlp_addresses: vec![open], ..options() };
    let refused = Server::start(&exposed, Purpose::Collect).expect_err("no token");
    assert!(matches!(refused, Error::Open { address } if address == open));
    let token = Token::parse("0123456789abcdef").expect("a token");
    let with_token = ServerOptions { keys: keys_of(&token), ..exposed };
    assert!(Server::start(&with_token, Purpose::Collect).is_ok());
}

#[test]
fn an_address_that_is_taken_is_named() {
    let (_server, address) = server(&options());
    let second = ServerOptions { otlp_addresses: vec![address], ..options() };
    let refused = Server::start(&second, Purpose::Collect).expect_err("it is taken");
    assert!(refused.to_string().contains(&format!("`{address}`")), "{refused}");
}
