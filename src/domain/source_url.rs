//! Where a camera's video comes from, as a type that never prints its password.

use std::fmt;

/// A source as libav or V4L2 takes it. `Display` and `Debug` print it redacted; only [`SourceUrl::expose`]
/// gives the real text, and only the code that opens the source calls it.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceUrl {
    secret: String,
}

/// How a source is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// `rtsp://` and `rtsps://`.
    Rtsp,
    /// `http://` and `https://`.
    Http,
    /// A V4L2 device: an index such as `0`, or a path such as `/dev/video0`.
    Device,
    /// A file, played in real time.
    File,
}

impl SourceUrl {
    pub fn new(text: impl Into<String>) -> Self {
        SourceUrl { secret: text.into() }
    }

    /// The source with `username` and `password` in it, percent-encoded. Credentials that the address
    /// already holds are replaced. Sources without a host are returned unchanged.
    pub fn with_credentials(&self, username: &str, password: Option<&str>) -> Self {
        let Ok(mut address) = url::Url::parse(&self.secret) else {
            return self.clone();
        };
        // The `url` crate takes a `%` as the beginning of something already encoded.
        let literal = |text: &str| text.replace('%', "%25");
        let password = password.map(literal);
        if address.set_username(&literal(username)).is_err() || address.set_password(password.as_deref()).is_err() {
            return self.clone();
        }
        SourceUrl::new(address.as_str())
    }

    /// The real text, with its password.
    pub fn expose(&self) -> &str {
        &self.secret
    }

    pub fn kind(&self) -> SourceKind {
        let scheme = self.secret.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("rtsp" | "rtsps") => SourceKind::Rtsp,
            Some("http" | "https") => SourceKind::Http,
            _ if self.secret.bytes().all(|b| b.is_ascii_digit()) && !self.secret.is_empty() => SourceKind::Device,
            _ if self.secret.starts_with("/dev/") => SourceKind::Device,
            _ => SourceKind::File,
        }
    }

    /// Replaces every trace of this source's credentials in `text`, which may be a message of a library.
    pub fn redact_in(&self, text: &str) -> String {
        let mut out = text.replace(&self.secret, &self.to_string());
        for secret in secrets_of(&self.secret) {
            out = out.replace(&secret, "***");
        }
        redact_urls(&out)
    }
}

/// What must not be shown of an address, longest first: its password, as written and decoded, and what its path
/// and query say of a user. An odd password may hold an `@` or a `/`, so it ends at the `@` of the host or at the last one.
fn secrets_of(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once("://") else {
        return Vec::new();
    };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let ends = [authority.rfind('@'), rest.rfind('@')];
    let passwords =
        ends.into_iter().flatten().filter_map(|end| rest[..end].split_once(':')).map(|(_, password)| password);
    let (path, query) = path_and_query(&rest[authority.len()..]);
    let values = path.split(IN_PATH).chain(query.unwrap_or_default().split(IN_QUERY)).filter_map(secret_pair);
    let written: Vec<&str> = passwords.chain(values.map(|(_, value)| value)).collect();
    let mut all: Vec<String> = written.iter().flat_map(|raw| [(*raw).to_owned(), percent_decode(raw)]).collect();
    // Shorter ones would turn every message to stars.
    all.retain(|secret| secret.len() >= 3);
    all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    all.dedup();
    all
}

/// What parts parameters from each other: cameras also take `/user=admin&password=...&channel=1.sdp`.
const IN_PATH: &[char] = &['/', '&', ';'];
const IN_QUERY: &[char] = &['&'];

fn path_and_query(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)))
}

/// Name and value of a parameter that tells who someone is.
fn secret_pair(pair: &str) -> Option<(&str, &str)> {
    pair.split_once('=').filter(|(name, _)| is_secret_name(name))
}

fn push_without_secrets(out: &mut String, text: &str, separators: &[char]) {
    for piece in text.split_inclusive(separators) {
        let pair = piece.strip_suffix(separators).unwrap_or(piece);
        match secret_pair(pair) {
            Some((name, _)) => out.extend([name, "=***", &piece[pair.len()..]]),
            None => out.push_str(piece),
        }
    }
}

/// Does a parameter by this name tell who someone is? Cameras take `?usr=admin&pwd=...`.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "pwd", "token", "secret", "auth", "key", "usr", "user", "login", "sig", "cred"]
        .iter()
        .any(|word| name.contains(word))
}

/// Redacts the credentials of every `scheme://user:password@` in a text, and of the paths and queries behind it.
pub fn redact_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let word_end = after
            .find(|c: char| c.is_whitespace() || c == '"' || c == '\'' || c == '<' || c == '>')
            .unwrap_or(after.len());
        let mut word = &after[..word_end];
        rest = &after[word_end..];
        // The last one: a password may hold an `@`, and a path that loses a piece is no harm.
        if let Some(end) = word.rfind('@') {
            out.push_str("***@");
            word = &word[end + 1..];
        }
        let (path, query) = path_and_query(word);
        push_without_secrets(&mut out, path, IN_PATH);
        if let Some(query) = query {
            out.push('?');
            push_without_secrets(&mut out, query, IN_QUERY);
        }
    }
    out.push_str(rest);
    out
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_urls(&self.secret))
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_without_its_password() {
        let source = SourceUrl::new("rtsp://viewer:hunter22@192.0.2.10:554/ch1");
        assert_eq!(source.to_string(), "rtsp://***@192.0.2.10:554/ch1");
        assert_eq!(format!("{source:?}"), "SourceUrl(rtsp://***@192.0.2.10:554/ch1)");
        assert_eq!(source.expose(), "rtsp://viewer:hunter22@192.0.2.10:554/ch1");
    }

    #[test]
    fn odd_passwords_are_redacted_too() {
        for secret in ["p@ss", "a/b", "x:y", "q?z#1", "100%", "canary@x/word", "x/canary@word"] {
            let source = SourceUrl::new(format!("rtsp://u:{secret}@host/live"));
            assert_eq!(source.to_string(), "rtsp://***@host/live");
            assert!(!source.redact_in(&format!("401 for {secret}")).contains(secret), "{source}");
        }
        let odd_path = SourceUrl::new("rtsp://u:hunter22@host/live@main");
        assert!(!odd_path.redact_in("no user u:hunter22").contains("hunter22"));
    }

    #[test]
    fn queries_are_redacted_too() {
        let source = SourceUrl::new("http://h/video.cgi?user=admin&pwd=hunter%322&rate=0#x");
        assert_eq!(source.to_string(), "http://h/video.cgi?user=***&pwd=***&rate=0#x");
        assert_eq!(source.redact_in("GET /video.cgi?pwd=hunter%322: 401 hunter22"), "GET /video.cgi?pwd=***: 401 ***");
    }

    #[test]
    fn parameters_in_a_path_are_redacted_too() {
        let source = SourceUrl::new("rtsp://h:554/user=admin&password=hunter22&channel=1.sdp?real_stream");
        assert_eq!(source.to_string(), "rtsp://h:554/user=***&password=***&channel=1.sdp?real_stream");
        assert_eq!(source.redact_in("DESCRIBE password=hunter22: 404"), "DESCRIBE password=***: 404");
        let underscores = SourceUrl::new("rtsp://h/user=admin_password=hunter22_channel=1.sdp");
        assert_eq!(underscores.to_string(), "rtsp://h/user=***");
        assert_eq!(SourceUrl::new("rtsp://h/a/b;x=1/").to_string(), "rtsp://h/a/b;x=1/");
    }

    #[test]
    fn credentials_are_encoded() {
        let source = SourceUrl::new("rtsp://host/live").with_credentials("me", Some("p@s:s/1"));
        assert_eq!(source.expose(), "rtsp://me:p%40s%3As%2F1@host/live");
        let percent = SourceUrl::new("rtsp://host/live").with_credentials("me", Some("100%41"));
        assert_eq!(percent.expose(), "rtsp://me:100%2541@host/live");
        assert!(!source.redact_in("401 for me with p@s:s/1").contains("p@s:s/1"));
    }

    #[test]
    fn kinds() {
        assert_eq!(SourceUrl::new("0").kind(), SourceKind::Device);
        assert_eq!(SourceUrl::new("/dev/video2").kind(), SourceKind::Device);
        assert_eq!(SourceUrl::new("RTSPS://h/x").kind(), SourceKind::Rtsp);
        assert_eq!(SourceUrl::new("http://h/x").kind(), SourceKind::Http);
        assert_eq!(SourceUrl::new("clip.mp4").kind(), SourceKind::File);
    }
}
