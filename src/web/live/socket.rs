//! A WebSocket as an answer that is pulled: the next message is made when the connection can take one, so that a slow
//! viewer holds one message and no queue.
//!
//! What a viewer says is not listened to, but for its pings and its leaving.

use std::convert::Infallible;
use std::time::Duration;

use actix_http::ws::{self, OpCode, Parser};
use actix_web::body::{BodyStream, MessageBody};
use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, BytesMut};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{AppState, Problem};
use crate::web::doors::Who;

/// How often a quiet source is asked to look around.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// After so many looks without a message the viewer is asked whether it is there.
const QUIET_LOOKS: u32 = 15;
/// Nobody says more to us at once, in bytes.
const MOST_HEARD: usize = 4096;

/// Why a socket is closed: the code (RFC 6455, 7.4) and words for a person.
pub struct Close(pub u16, pub String);

/// The server stops, or the camera is gone.
pub const AWAY: u16 = 1001;
/// There is nothing to send that the viewer can take.
pub const UNSUPPORTED: u16 = 1003;
const NORMAL: u16 = 1000;
const PROTOCOL: u16 = 1002;
const TOO_LONG: u16 = 1009;

/// What a socket sends.
pub trait Source {
    /// The next message; None while there is none.
    fn next(&mut self) -> Result<Option<Bytes>, Close>;

    /// Waits until there may be one. Nothing is lost where the wait is broken off.
    fn arrival(&mut self) -> impl Future<Output = ()>;

    /// Is asked where nothing came for a while.
    fn look_around(&mut self) -> Result<(), Close>;
}

/// Answers the handshake, and sends all that `source` has until one side ends it.
pub fn answer(
    request: &HttpRequest,
    body: web::Payload,
    state: &AppState,
    who: Who,
    source: impl Source + 'static,
) -> Result<HttpResponse, Problem> {
    let mut response = ws::handshake(request.head()).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, format!("this is no handshake of a WebSocket: {error}"))
    })?;
    let socket = Socket {
        source,
        body,
        heard: BytesMut::new(),
        stopping: state.stopping.clone(),
        rest: None,
        quiet_looks: 0,
        is_closed: false,
    };
    let messages = stream::unfold(socket, |mut socket| async move {
        let bytes = socket.bytes().await?;
        Some((Ok::<_, Infallible>(bytes), socket))
    });
    let messages = messages.take_until(Box::pin(state.doors.end_of(who)));
    let body = BodyStream::new(Box::pin(messages)).boxed();
    let response = response.message_body(body);
    response.map(HttpResponse::from).map_err(|error| Problem::internal(format!("no WebSocket can be opened: {error}")))
}

struct Socket<S> {
    source: S,
    body: web::Payload,
    heard: BytesMut,
    stopping: watch::Receiver<bool>,
    /// The message whose head has gone out.
    rest: Option<Bytes>,
    quiet_looks: u32,
    is_closed: bool,
}

impl<S: Source> Socket<S> {
    /// The next bytes; None at the end.
    async fn bytes(&mut self) -> Option<Bytes> {
        if let Some(rest) = self.rest.take() {
            return Some(rest);
        }
        if self.is_closed {
            return None;
        }
        match self.message().await {
            Ok((code, message)) => {
                let head = head(code, message.len());
                self.rest = Some(message).filter(|message| !message.is_empty());
                Some(head)
            }
            Err(None) => None,
            Err(Some(Close(code, words))) => {
                self.is_closed = true;
                let mut frame = BytesMut::new();
                Parser::write_close(&mut frame, Some((ws::CloseCode::from(code), words).into()), false);
                Some(frame.freeze())
            }
        }
    }

    /// The next message; an error is the end, with a word to the viewer or without.
    async fn message(&mut self) -> Result<(OpCode, Bytes), Option<Close>> {
        loop {
            if let Some(message) = self.source.next().map_err(Some)? {
                self.quiet_looks = 0;
                return Ok((OpCode::Binary, message));
            }
            let Socket { stopping, body, source, .. } = self;
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => {
                    return Err(Some(Close(AWAY, "the server is stopping".to_owned())));
                }
                heard = body.next() => {
                    let Some(Ok(heard)) = heard else { return Err(None) };
                    self.heard.extend_from_slice(&heard);
                    if let Some(pong) = answer_to(&mut self.heard)? {
                        return Ok((OpCode::Pong, pong));
                    }
                }
                arrived = timeout(LOOK_AGAIN, source.arrival()) => if arrived.is_err() {
                    self.source.look_around().map_err(Some)?;
                    self.quiet_looks += 1;
                    if self.quiet_looks.is_multiple_of(QUIET_LOOKS) {
                        return Ok((OpCode::Ping, Bytes::new()));
                    }
                },
            }
        }
    }
}

/// Takes what a viewer said: gives the answer to a ping; an error is its leaving.
fn answer_to(heard: &mut BytesMut) -> Result<Option<Bytes>, Option<Close>> {
    let mut pong = None;
    let wrong = |error: ws::ProtocolError| Close(PROTOCOL, error.to_string());
    while let Some((_, code, words)) = Parser::parse(heard, true, MOST_HEARD).map_err(wrong)? {
        match code {
            OpCode::Ping => pong = Some(words.unwrap_or_default().freeze()),
            OpCode::Close => return Err(Some(Close(NORMAL, String::new()))),
            _ => {}
        }
    }
    // The parser waits for the rest of a message before it finds it too long.
    if heard.len() > MOST_HEARD {
        return Err(Some(Close(TOO_LONG, "nothing so long is listened to".to_owned())));
    }
    Ok(pong)
}

/// What stands before a message that goes out whole and unmasked.
fn head(code: OpCode, length: usize) -> Bytes {
    let mut head = vec![0x80 | u8::from(code)];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => head.push(short),
        (_, Ok(middle)) => {
            head.push(126);
            head.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_answered_and_a_close_is_the_end() {
        let ping = [0x89, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
        let mut heard = BytesMut::from(&ping[..5]);
        assert!(matches!(answer_to(&mut heard), Ok(None)), "not all of it is here");
        heard.extend_from_slice(&ping[5..]);
        assert!(matches!(answer_to(&mut heard), Ok(Some(words)) if words == "hi"));
        let endless = [&[0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4][..], &[7; MOST_HEARD]].concat();
        for (said, code) in [(&[0x88, 0x80, 0, 0, 0, 0][..], NORMAL), (&[0x89, 0][..], PROTOCOL), (&endless, TOO_LONG)]
        {
            let Err(Some(Close(found, _))) = answer_to(&mut BytesMut::from(said)) else { panic!("{code} is the end") };
            assert_eq!(found, code);
        }
    }

    #[test]
    fn lengths_are_written_as_short_as_they_go() {
        assert_eq!(head(OpCode::Binary, 125)[..], [0x82, 125]);
        assert_eq!(head(OpCode::Binary, 126)[..], [0x82, 126, 0, 126]);
        assert_eq!(head(OpCode::Ping, 65_535)[..], [0x89, 126, 0xff, 0xff]);
        assert_eq!(head(OpCode::Binary, 65_536)[..], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
