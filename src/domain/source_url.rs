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
        if let Some(userinfo) = userinfo(&self.secret) {
            let raw_password = userinfo.split_once(':').map(|(_, password)| password).unwrap_or("");
            let decoded = percent_decode(raw_password);
            for secret in [raw_password, decoded.as_str()] {
                if secret.len() >= 3 {
                    out = out.replace(secret, "***");
                }
            }
        }
        redact_urls(&out)
    }
}

/// `user:password` of an address, however odd the password (it ends at the last `@` before the path).
fn userinfo(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password that holds a slash pushes the `@` behind the first slash: then everything to the last `@` counts.
    let end = rest[..authority_end].rfind('@').or_else(|| rest.rfind('@'))?;
    Some(&rest[..end])
}

/// Redacts the credentials of every `scheme://user:password@` in a text.
pub fn redact_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let word_end = after
            .find(|c: char| c.is_whitespace() || c == '"' || c == '\'' || c == '<' || c == '>')
            .unwrap_or(after.len());
        let word = &after[..word_end];
        let authority_end = word.find(['/', '?', '#']).unwrap_or(word.len());
        let host_start = word[..authority_end].rfind('@').or_else(|| word.rfind('@')).map_or(0, |i| i + 1);
        if host_start > 0 {
            out.push_str("***@");
        }
        rest = &after[host_start..];
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
        for secret in ["p@ss", "a/b", "x:y", "q?z#1", "100%"] {
            let source = SourceUrl::new(format!("rtsp://u:{secret}@host/live"));
            assert!(!source.to_string().contains(secret), "{source}");
        }
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
