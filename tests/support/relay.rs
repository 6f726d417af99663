//! A cable that can be cut: a TCP relay before one server, with faults on demand.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tarsier::clock::monotonic;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Connections stay and nothing passes.
    Stall,
    /// One byte in so many, from the server to the client, is changed.
    Corrupt {
        one_in: u64,
    },
    Throttle {
        bytes_per_s: u64,
    },
    /// Passes this many more bytes from the server, then closes.
    CutAfter {
        bytes: u64,
    },
}

struct Shared {
    target: AtomicU16,
    fault: Mutex<Fault>,
    /// Connections older than this are closed.
    generation: AtomicU64,
    stop: AtomicBool,
    accepted: AtomicU64,
    open: AtomicU64,
    from_server_bytes: AtomicU64,
    passed_since_fault: AtomicU64,
}

/// A relay on a port of its own; everything ends when it is dropped.
pub struct Relay {
    port: u16,
    listener: TcpListener,
    refuses: AtomicBool,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

const TURN: Duration = Duration::from_millis(20);

impl Relay {
    /// A relay to a port on this machine.
    pub fn to(target: u16) -> Self {
        let listener = listen_on_a_kept_port();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target),
            fault: Mutex::new(Fault::None),
            generation: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            from_server_bytes: AtomicU64::new(0),
            passed_since_fault: AtomicU64::new(0),
        });
        let acceptor = {
            let (listener, shared) = (listener.try_clone().unwrap(), shared.clone());
            std::thread::spawn(move || accept(&listener, &shared))
        };
        Relay { port, listener, refuses: AtomicBool::new(false), shared, acceptor: Some(acceptor) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections and refuses new ones.
    pub fn cut(&self) {
        self.refuse();
        self.drop_connections();
    }

    /// New connections lead to another port; those there are go on.
    pub fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }

    /// Closes all connections; new ones are welcome.
    pub fn drop_connections(&self) {
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// New connections are refused, as by a machine where nobody listens; those there are go on.
    pub fn refuse(&self) {
        // A listening socket that is shut down refuses, and keeps its port. Done twice, all that it takes later would
        // be shut down, too.
        if !self.refuses.swap(true, Ordering::SeqCst) {
            // SAFETY: the descriptor is our own open socket.
            unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RD) };
        }
    }

    /// Nothing passes, nothing is closed; new connections are taken and get nothing.
    pub fn stall(&self) {
        self.set(Fault::Stall);
    }

    /// Changes about one byte in `one_in` of what the server sends.
    pub fn corrupt(&self, one_in: u64) {
        self.set(Fault::Corrupt { one_in });
    }

    /// Lets so many bytes a second through from the server.
    pub fn throttle(&self, bytes_per_s: u64) {
        self.set(Fault::Throttle { bytes_per_s });
    }

    /// Closes everything after so many more bytes from the server: most likely in the middle of a packet.
    pub fn cut_after(&self, bytes: u64) {
        self.set(Fault::CutAfter { bytes });
    }

    /// All is well again.
    pub fn heal(&self) {
        self.set(Fault::None);
        self.refuses.store(false, Ordering::SeqCst);
        // SAFETY: the descriptor is our own bound socket; listening again on one that listens does nothing.
        let listening = unsafe { libc::listen(self.listener.as_raw_fd(), 64) };
        assert_eq!(listening, 0, "the relay listens again: {}", std::io::Error::last_os_error());
    }

    /// Connections taken since the start.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Bytes passed from the server to its clients.
    pub fn bytes(&self) -> u64 {
        self.shared.from_server_bytes.load(Ordering::SeqCst)
    }

    fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
        self.shared.passed_since_fault.store(0, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// A socket keeps its port while it refuses only if it was bound to it by number.
fn listen_on_a_kept_port() -> TcpListener {
    loop {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if let Ok(listener) = TcpListener::bind(address) {
            return listener;
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((client, _)) => {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let shared = shared.clone();
                std::thread::spawn(move || {
                    shared.open.fetch_add(1, Ordering::SeqCst);
                    connect(&client, &shared);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
            // Nobody there, or refusing.
            Err(_) => std::thread::sleep(TURN),
        }
    }
}

fn connect(client: &TcpStream, shared: &Arc<Shared>) {
    let generation = shared.generation.load(Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target.load(Ordering::SeqCst))) else { return };
    for stream in [client, &server] {
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(TURN));
        let _ = stream.set_write_timeout(Some(TURN));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| pump(client, &server, shared, generation, false));
        pump(&server, client, shared, generation, true);
    });
}

fn pump(mut from: &TcpStream, to: &TcpStream, shared: &Shared, generation: u64, from_server: bool) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut buffer = [0u8; 16 * 1024];
    let mut window_start = monotonic();
    let mut window_bytes = 0u64;
    let over = || shared.stop.load(Ordering::SeqCst) || shared.generation.load(Ordering::SeqCst) != generation;
    let fault_now = || *shared.fault.lock().unwrap();
    while !over() {
        let mut most = buffer.len();
        if let Fault::Throttle { bytes_per_s } = fault_now()
            && from_server
        {
            if window_start.elapsed() >= Duration::from_millis(100) {
                window_start = monotonic();
                window_bytes = 0;
            }
            let allowed = (bytes_per_s / 10).max(1).saturating_sub(window_bytes);
            if allowed == 0 {
                std::thread::sleep(TURN);
                continue;
            }
            most = most.min(allowed as usize);
        }
        let mut count = match from.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if is_timeout(&error) => continue,
            Err(_) => break,
        };
        // Held back, not lost: it passes when the relay is healed.
        while fault_now() == Fault::Stall && !over() {
            std::thread::sleep(TURN);
        }
        let fault = fault_now();
        let mut last = false;
        if from_server {
            window_bytes += count as u64;
            match fault {
                Fault::Corrupt { one_in } => {
                    for byte in &mut buffer[..count] {
                        if random.u64(0..one_in.max(1)) == 0 {
                            *byte ^= random.u8(1..);
                        }
                    }
                }
                Fault::CutAfter { bytes } => {
                    let left = bytes.saturating_sub(shared.passed_since_fault.load(Ordering::SeqCst));
                    last = count as u64 >= left;
                    count = count.min(left as usize);
                }
                _ => {}
            }
            shared.from_server_bytes.fetch_add(count as u64, Ordering::SeqCst);
            shared.passed_since_fault.fetch_add(count as u64, Ordering::SeqCst);
        }
        if !write_all(to, &buffer[..count], over) || last {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn write_all(mut to: &TcpStream, mut bytes: &[u8], over: impl Fn() -> bool) -> bool {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return false,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if is_timeout(&error) && !over() => {}
            Err(_) => return false,
        }
    }
    true
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
