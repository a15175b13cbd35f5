use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const LIMIT: Duration = Duration::from_secs(20);

/// This process's own network: loopback is all that is needed.
fn here() -> Place {
    Place { netns: "/proc/self/ns/net".into(), addrs: Vec::new() }
}

/// Answers one connection with `answer`, byte for byte. Its port, and what it was asked.
async fn answering(answer: impl Into<Vec<u8>>) -> (u16, oneshot::Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let (answer, (asked, question)) = (answer.into(), oneshot::channel());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let (mut seen, mut piece) = (Vec::new(), [0; 1024]);
        while !seen.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut piece).await.expect("read");
            assert!(count > 0, "the question has an end");
            seen.extend_from_slice(&piece[..count]);
        }
        let _ = asked.send(String::from_utf8_lossy(&seen).into_owned());
        // A client that has seen enough goes away.
        let _ = stream.write_all(&answer).await;
    });
    (port, question)
}

async fn status(status: &str) -> (bool, String) {
    let (port, _) = answering(format!("HTTP/1.1 {status}\r\nLocation: http://192.0.2.1/\r\n\r\n")).await;
    let probed = http(&here(), port, "/ready", "", LIMIT).await;
    (probed.good, probed.words.replace(&port.to_string(), "PORT"))
}

#[tokio::test]
async fn an_answer_of_200_to_399_is_good_and_a_redirect_is_not_followed() {
    for good in ["200 OK", "204 No Content", "302 Found", "399 Odd"] {
        assert_eq!(status(good).await, (true, format!("GET :PORT/ready answered {}", &good[..3])));
    }
    for bad in ["400 Bad Request", "404 Not Found", "503 Service Unavailable"] {
        assert_eq!(status(bad).await, (false, format!("GET :PORT/ready answered {}", &bad[..3])));
    }
    // An informational answer is followed by the one that counts.
    let (port, _) = answering("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 Oh\r\n\r\n").await;
    assert!(!http(&here(), port, "/", "", LIMIT).await.good);
    let (port, _) = answering("HTTP/1.0 200 OK\r\n\r\n").await;
    assert!(http(&here(), port, "/", "", LIMIT).await.good, "an old server");
}

#[tokio::test]
async fn the_question_is_what_was_asked_for() {
    let (port, question) = answering("HTTP/1.1 200 OK\r\n\r\n").await;
    assert!(http(&here(), port, "/ready?full=1", "shop.example", LIMIT).await.good);
    let question = question.await.expect("asked").to_lowercase();
    assert!(question.starts_with("get /ready?full=1 http/1.1\r\n"), "{question}");
    assert!(question.contains("\r\nhost: shop.example\r\n") && question.contains("\r\nconnection: close\r\n"));
    let (port, question) = answering("HTTP/1.1 200 OK\r\n\r\n").await;
    assert!(http(&here(), port, "/", "", LIMIT).await.good);
    let question = question.await.expect("asked").to_lowercase();
    assert!(question.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")), "{question}");
}

#[tokio::test]
async fn a_body_is_not_waited_for_and_headers_without_end_are_not_read() {
    let (port, _) = answering("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbeginning").await;
    assert!(http(&here(), port, "/", "", LIMIT).await.good);
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20));
    let (port, _) = answering(endless).await;
    let probed = http(&here(), port, "/", "", LIMIT).await;
    assert!(!probed.good && probed.words.contains("no HTTP answer"), "{}", probed.words);
}

#[tokio::test]
async fn what_is_no_answer_fails_in_words() {
    let (port, _) = answering("SSH-2.0-OpenSSH_9.9\r\n").await;
    let probed = http(&here(), port, "/", "", LIMIT).await;
    assert!(!probed.good && probed.words.starts_with(&format!("GET :{port}/: no HTTP answer: ")), "{}", probed.words);
    let (port, _) = answering("").await;
    assert!(!http(&here(), port, "/", "", LIMIT).await.good, "it hangs up");
    // It listens, and nobody accepts.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
    let port = silent.local_addr().expect("address").port();
    let probed = http(&here(), port, "/", "", Duration::from_millis(50)).await;
    assert_eq!((probed.good, probed.words), (false, format!("GET :{port}/: no answer within 50ms")));
    drop(silent);
    let probed = http(&here(), port, "/", "", LIMIT).await;
    assert_eq!((probed.good, probed.words), (false, format!("GET :{port}/: connection refused")));
    let probed = tcp(&here(), port, LIMIT).await;
    assert_eq!((probed.good, probed.words), (false, format!("connect :{port}: connection refused")));
}

#[tokio::test]
async fn a_port_that_accepts_is_open_also_at_ipv6_loopback_alone() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    assert!(tcp(&here(), port, LIMIT).await.good);
    // Without IPv6 there is nothing to show.
    if let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await {
        let port = listener.local_addr().expect("address").port();
        assert!(tcp(&here(), port, LIMIT).await.good);
    }
}

#[tokio::test]
async fn a_container_whose_network_is_gone_is_not_reached() {
    let gone = Place { netns: "/nowhere".into(), addrs: Vec::new() };
    let probed = tcp(&gone, 80, LIMIT).await;
    assert!(!probed.good && probed.words.contains("/nowhere"), "{}", probed.words);
}
