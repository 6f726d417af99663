//! The daemon as systemd sees it.

mod support;

use std::os::unix::net::UnixDatagram;

use support::*;

#[test]
fn systemd_hears_ready_then_the_watchdog_then_stopping() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(secs(15))).unwrap();
    let hear = || {
        let mut buffer = [0u8; 1024];
        let length = socket.recv(&mut buffer).expect("the daemon tells systemd");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let wait_for_state = |state: &str| {
        for _ in 0..50 {
            if hear().lines().any(|line| line == state) {
                return;
            }
        }
        panic!("no {state}");
    };
    let mut daemon =
        Daemon::builder().env("NOTIFY_SOCKET", path.to_str().unwrap()).env("WATCHDOG_USEC", "2000000").start();
    wait_for_state("READY=1");
    // Twice: it is fed again and again, in time.
    for _ in 0..2 {
        let start = tarsier::clock::monotonic();
        wait_for_state("WATCHDOG=1");
        assert!(start.elapsed() < secs(2), "the watchdog was fed after {:?}", start.elapsed());
    }
    assert_eq!(daemon.terminate(secs(5)), Some(0));
    wait_for_state("STOPPING=1");
}

#[test]
fn the_log_is_opened_again_on_sighup() {
    let daemon = Daemon::builder().start();
    let log = daemon.folder().join("log/tarsier.log");
    wait_for("the log", secs(10), || log.exists().then_some(()));
    std::fs::rename(&log, log.with_extension("moved")).unwrap();
    daemon.signal(libc::SIGHUP);
    wait_for("a new log", secs(10), || log.exists().then_some(()));
}
