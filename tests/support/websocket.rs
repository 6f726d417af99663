//! A viewer that is no browser: it takes what a WebSocket sends, as fast or as slowly as a test wants.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use super::wait::secs;

/// An open WebSocket.
pub struct WebSocket {
    stream: TcpStream,
}

impl WebSocket {
    /// Opens one. `window` bounds what the kernel takes for it, in bytes; 0 leaves that to the kernel.
    #[track_caller]
    pub fn open(address: SocketAddr, path: &str, window: i32) -> Self {
        let mut stream = connect(address, window).expect("the server is there");
        stream.set_read_timeout(Some(secs(30))).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGFyc2llciB0YXJzaWVyIA==\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the handshake is answered");
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with("HTTP/1.1 101 "), "{path}: {head}");
        WebSocket { stream }
    }

    /// The next binary message; Err has the words of a close, or why nothing came.
    pub fn message(&mut self) -> Result<Vec<u8>, String> {
        loop {
            let (code, message) = self.frame().map_err(|error| error.to_string())?;
            match code {
                0x82 => return Ok(message),
                0x88 => return Err(String::from_utf8_lossy(message.get(2..).unwrap_or_default()).into_owned()),
                0x89 | 0x8a => {}
                other => return Err(format!("a frame that begins with {other:#x}")),
            }
        }
    }

    fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.bytes()?)),
            127 => u64::from_be_bytes(self.bytes()?),
            short => u64::from(short),
        };
        let mut message = vec![0; length as usize];
        self.stream.read_exact(&mut message)?;
        Ok((head[0], message))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn connect(address: SocketAddr, window: i32) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    if window > 0 {
        let size = size_of::<i32>() as libc::socklen_t;
        // SAFETY: the option is an int, and the descriptor is open.
        let set = unsafe {
            libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const window).cast(), size)
        };
        assert_eq!(set, 0, "the window is set");
    }
    Ok(stream)
}
