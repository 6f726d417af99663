//! Starting and stopping.

use super::*;

#[test]
fn the_address_is_written_and_taken_away() {
    let mut served = Served::start();
    let file = served.folder.path().join("address");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", served.address));
    let others: Vec<_> = std::fs::read_dir(served.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("address."))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    served.stop();
    assert!(!file.exists());
}

#[test]
fn stops_within_two_seconds_whoever_is_still_there() {
    let mut served = Served::start();
    let recording = served.record("yard", 0);
    std::fs::write(served.archive().join(&recording.path), vec![7; 64 << 20]).unwrap();
    let mut listener = served.listen("");
    // One that sends nothing, one that is half way through its request, one that reads no answer.
    let _silent = served.connect();
    let mut halfway = served.connect();
    halfway.write_all(b"GET / HTTP/1.1\r\nHost").unwrap();
    let mut unread = served.connect();
    let (id, address) = (recording.id, served.address);
    write!(unread, "GET /api/recordings/{id}/video.mp4 HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    unread.read_exact(&mut [0; 8]).unwrap();

    let took = served.stop().unwrap();
    assert!(took <= Duration::from_millis(2200), "{took:?}");
    let mut rest = String::new();
    listener.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream was ended, not cut: {rest:?}");
    assert!(TcpStream::connect(served.address).is_err());
}

#[test]
fn a_server_that_is_dropped_takes_its_address_file_away() {
    let served = Served::start();
    let file = served.folder.path().join("other");
    let start = || {
        let context = WebContext { web: web("127.0.0.1:0", Some(file.clone())), ..context(&served) };
        actix::System::new().block_on(serve(context)).unwrap()
    };
    let server = start();
    assert!(file.exists());
    drop(server);
    assert!(!file.exists());

    // One that names another server by now stays.
    let server = start();
    std::fs::write(&file, "127.0.0.1:1").unwrap();
    drop(server);
    assert!(file.exists());
}

fn context(served: &Served) -> WebContext {
    WebContext {
        registry: Arc::clone(&served.registry),
        index: served.index.clone(),
        archive_root: served.archive(),
        note_folder: served.folder.path().to_owned(),
        web: web("127.0.0.1:0", None),
        tls: None,
        snapshot: Arc::new(|_| Err("none".into())),
        pool: Pool::start(1).unwrap(),
    }
}

fn refusal(served: &Served, listen: &str, address_file: Option<PathBuf>) -> WebError {
    let context = WebContext { web: web(listen, address_file), ..context(served) };
    actix::System::new().block_on(serve(context)).err().expect("it does not start")
}

#[test]
fn what_cannot_be_served_is_refused_with_the_key() {
    let served = Served::start();
    let error = refusal(&served, "0.0.0.0:0", None);
    assert!(error.to_string().starts_with("web.listen: 0.0.0.0:0 can be reached"), "{error}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = refusal(&served, &taken.local_addr().unwrap().to_string(), None);
    assert!(error.to_string().starts_with("web.listen: cannot listen on 127.0.0.1:"), "{error}");
    let folder = served.folder.path().to_owned();
    let error = refusal(&served, "127.0.0.1:0", Some(folder));
    assert!(error.to_string().starts_with("web.address_file: cannot write"), "{error}");
}
