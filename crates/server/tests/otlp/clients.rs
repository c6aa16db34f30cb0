//! A client of the standard's own definitions, many at a time.

use std::sync::Arc;

use prost::Message;
use timesink_server::Exporter;

use crate::support::{options, request, server, spans};

/// OTLP/gRPC Concurrent Requests: "The implementations that need to achieve high throughput SHOULD
/// support concurrent Unary calls".
#[test]
fn concurrent_calls_are_all_taken_once() {
    let (server, address) = server(&options());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let message: Arc<[u8]> = request(50, 0).encode_to_vec().into();
    runtime.block_on(async {
        let exporter = Exporter::connect(&format!("http://{address}")).await.expect("it listens");
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..100 {
            let exporter = if number % 2 == 0 { exporter.clone() } else { exporter.with_gzip() };
            let message = Arc::clone(&message);
            calls.spawn(async move { exporter.export(&message).await });
        }
        for answer in calls.join_all().await {
            assert_eq!(answer.expect("it is taken"), None);
        }
    });
    assert_eq!(spans(&server), 5000);
}
