//! What is read from a url before anything is sent to it.
//!
//! The `url` crate normalises every spelling of an IPv4 address (`2130706433`, `0x7f.1`,
//! `0177.0.0.1`) as browsers do, so a literal is judged as the address it will be. Host names are
//! judged again by their addresses when they are resolved.

use std::net::{IpAddr, Ipv4Addr};

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::FetchError;
use super::address::AddressRule;

/// Longest url taken, in bytes.
pub const MAX_URL: usize = 4096;

/// Longest url repeated in a message and longest file name given, in characters.
const SHOWN: usize = 200;
const MAX_FILE_NAME: usize = 255;

/// Reads a url as a user gave it.
pub fn parse(raw: &str) -> Result<Url, FetchError> {
    let raw = raw.trim();
    let bad = |reason: String| FetchError::BadUrl { url: shown_raw(raw), reason };
    if raw.is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    if raw.len() > MAX_URL {
        return Err(bad(format!("it is longer than {MAX_URL} characters")));
    }
    Url::parse(raw).map_err(|error| bad(error.to_string()))
}

/// Refuses what must not be fetched: for the first url and for every redirect's.
pub fn check(url: &Url, rule: &AddressRule) -> Result<(), FetchError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(FetchError::ForbiddenScheme {
            url: shown(url),
            scheme: url.scheme().chars().take(SHOWN).collect(),
        });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::Credentials { url: shown(url) });
    }
    let permitted = match url.host() {
        Some(Host::Ipv4(address)) => rule.permits(address.into()),
        Some(Host::Ipv6(address)) => rule.permits(address.into()),
        // An address with several dots behind it is a name to the standard, and an address to some resolvers.
        Some(Host::Domain(name)) => match name.trim_end_matches('.').parse() {
            Ok(address) => rule.permits(address),
            Err(_) => !is_localhost(name) || rule.permits(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        },
        None => {
            return Err(FetchError::BadUrl { url: shown(url), reason: "it names no host".to_owned() });
        }
    };
    if permitted {
        return Ok(());
    }
    Err(FetchError::ForbiddenAddress { url: shown(url) })
}

/// Names that mean this machine without asking anyone.
pub fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    ["localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"].contains(&name.as_str())
        || name.ends_with(".localhost")
}

/// The last segment of the path, decoded; empty where there is none.
pub fn file_name(url: &Url) -> String {
    let segment = url.path_segments().and_then(|mut segments| segments.next_back());
    let decoded = percent_decode_str(segment.unwrap_or("")).decode_utf8_lossy();
    // An encoded slash is no way out of the last segment.
    let name = decoded.rsplit(['/', '\\']).next().unwrap_or("");
    let name = name.chars().filter(|c| !c.is_control()).take(MAX_FILE_NAME);
    match name.collect::<String>() {
        dots if matches!(dots.as_str(), "." | "..") => String::new(),
        name => name,
    }
}

/// A url fit for messages: no credentials, no query, no fragment, not too long.
pub fn shown(url: &Url) -> String {
    let Some(host) = url.host_str() else {
        return shown_raw(url.as_str());
    };
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let query = if url.query().is_some() { "?..." } else { "" };
    let path: String = url.path().chars().take(SHOWN).collect();
    format!("{}://{host}{port}{path}{query}", url.scheme())
}

/// The same for a text that could not be read as a url.
fn shown_raw(raw: &str) -> String {
    let end = raw.find(['?', '#']).unwrap_or(raw.len());
    let start = raw[..end].rfind('@').map_or(0, |at| at + 1);
    raw[start..end].chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checked(raw: &str) -> Result<(), FetchError> {
        check(&parse(raw)?, &AddressRule::public_only())
    }

    /// Every way to write an address that must not be asked, by what is meant.
    const PRIVATE: &[(&str, &[&str])] = &[
        (
            "this machine",
            &[
                "http://127.0.0.1/",
                "http://127.255.255.254/",
                "HTTP://127.0.0.1:80/",
                "http://127.1/",
                "http://127.0.1/",
                "http://2130706433/",
                "http://2130706433./",
                "http://017700000001/",
                "http://0x7f000001/",
                "http://0X7F.1/",
                "http://0x7f.0x0.0x0.0x1/",
                "http://0177.0.0.1/",
                "http://0177.0.0.01/",
                "http://127.0.0.1./",
                "http://%31%32%37.0.0.1/",
                "http://127%2e0%2e0%2e1/",
                "http://１２７.０.０.１/",
                "http://①②⑦.⓪.⓪.①/",
                "http://127。0。0。1/",
                "http://127｡0｡0｡1/",
                "http://127\u{ad}.0.0.1/",
                "http:127.0.0.1/",
                "http:/127.0.0.1/",
                "http:////127.0.0.1/",
                "http:\\\\127.0.0.1\\",
                "ht\ntp://12\t7.0.0.1/",
                "http://127.0.0.1\\@example.com/",
                "http://127.0.0.1#@example.com/",
                "http://127.0.0.1?@example.com/",
                "http://localhost/",
                "http://LOCALHOST./",
                "http://lo%63alhost/",
                "http://ⓛocalhost/",
                "http://a.localhost:9/",
                "https://localhost.localdomain/",
                "http://ip6-loopback/",
            ],
        ),
        ("unspecified", &["http://0.0.0.0/", "http://0/", "http://0x0/", "http://0.1.2.3/", "http://[::]/"]),
        (
            "this machine by IPv6",
            &[
                "http://[::1]/",
                "http://[0:0:0:0:0:0:0:1]/",
                "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
                "http://[::ffff:127.0.0.1]/",
                "http://[::ffff:7f00:1]/",
                "http://[0:0:0:0:0:FFFF:7F00:1]/",
                "http://[::127.0.0.1]/",
                "http://[::ffff:0:127.0.0.1]/",
            ],
        ),
        (
            "private networks",
            &[
                "http://10.1.2.3/",
                "http://167772161/",
                "http://012.0.0.1/",
                "http://172.16.0.1/",
                "http://172.31.255.255/",
                "http://192.168.0.1/",
                "http://0xc0a80001/",
                "http://[::ffff:10.0.0.1]/",
                "http://[fc00::1]/",
                "http://[fd00::1]/",
            ],
        ),
        (
            "link-local, cloud metadata",
            &[
                "http://169.254.169.254/latest/meta-data",
                "http://2852039166/",
                "http://0xa9fea9fe/",
                "http://0251.0376.0251.0376/",
                "http://169.254.43518/",
                "http://169.254.169.254../",
                "http://[::ffff:169.254.169.254]/",
                "http://[::ffff:a9fe:a9fe]/",
                "http://[fe80::1]/",
                "http://[fec0::1]/",
                "http://[fd00:ec2::254]/",
            ],
        ),
        ("carrier-grade NAT", &["http://100.64.0.1/", "http://100.127.255.255/"]),
        (
            "IPv4 inside IPv6",
            &[
                "http://[64:ff9b::7f00:1]/",
                "http://[64:ff9b::10.0.0.1]/",
                "http://[64:ff9b:1::a00:1]/",
                "http://[2002:7f00:1::]/",
                "http://[2002:c0a8:1::1]/",
                "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
                "http://[2001::1]/",
            ],
        ),
        (
            "reserved, multicast, documentation",
            &[
                "http://192.0.0.8/",
                "http://192.0.2.1/",
                "http://192.88.99.1/",
                "http://198.18.0.1/",
                "http://198.51.100.1/",
                "http://203.0.113.1/",
                "http://224.0.0.1/",
                "http://240.0.0.1/",
                "http://255.255.255.255/",
                "http://4294967295/",
                "http://[2001:db8::1]/",
                "http://[ff02::1]/",
                "http://[100::1]/",
            ],
        ),
    ];

    /// What looks like an address and is none, or would mean another one elsewhere.
    const NO_URLS: &[&str] = &[
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[::1%25lo]/",
        "http://256.0.0.1/",
        "http://127.0.0.256/",
        "http://4294967296/",
        "http://0x100000000/",
        "http://127.0.0.1.1/",
        "http://08.0.0.1/",
        "http://1.2.3.4.5/",
        "http://127.0.0.1:99999/",
        "http://[::1]x/",
        "http://[127.0.0.1]/",
        "http://exa mple.com/",
        "http://exa<mple.com/",
        "http://%00.example.com/",
        "http://127.0.0.1%00.example.com/",
    ];

    #[test]
    fn every_spelling_of_a_private_address_is_refused() {
        for (meant, urls) in PRIVATE {
            for url in *urls {
                let answer = checked(url);
                assert!(matches!(answer, Err(FetchError::ForbiddenAddress { .. })), "{meant}: {url} {answer:?}");
            }
        }
        for url in NO_URLS {
            let answer = checked(url);
            assert!(matches!(answer, Err(FetchError::BadUrl { .. })), "{url} {answer:?}");
        }
        for url in [
            "http://8.8.8.8/",
            "http://134744072/",
            "https://example.com/a.png",
            "http://[2606:4700::1111]:81/",
            // The host ends at the backslash, as in browsers.
            "http://example.com\\@127.0.0.1/",
            // Only a name; what it leads to is judged when it is resolved.
            "http://127.0.0.1.nip.io/",
        ] {
            assert!(checked(url).is_ok(), "{url} {:?}", checked(url));
        }
    }

    #[test]
    fn other_schemes_and_credentials_are_refused() {
        for url in
            ["file:///etc/passwd", "ftp://example.com/a", "data:image/png;base64,AA", "gopher://x/", "javascript:1"]
        {
            assert!(matches!(checked(url), Err(FetchError::ForbiddenScheme { .. })), "{url}");
        }
        for url in [
            "http://user@example.com/",
            "http://user:pw@example.com/",
            "https://:pw@example.com/",
            "http://example.com@127.0.0.1/",
            "http://127.0.0.1@example.com/",
            "http://example.com%40@127.0.0.1/",
        ] {
            assert!(matches!(checked(url), Err(FetchError::Credentials { .. })), "{url}");
        }
        for url in ["", "  ", "example.com/a.png", "/a.png", "http://", "http://[::1", "http://a b/", "//x/y"] {
            assert!(matches!(checked(url), Err(FetchError::BadUrl { .. })), "{url}");
        }
        let long = format!("http://example.com/{}", "a".repeat(MAX_URL));
        assert!(checked(&long).unwrap_err().to_string().len() < 500);
    }

    #[test]
    fn messages_keep_secrets() {
        for url in [
            "http://user:hunter2@example.com/a.png?sig=hunter2#hunter2",
            "file://user:hunter2@h/a?hunter2",
            "user:hunter2@example.com",
            "http://user:hunter2@[bad/?hunter2",
        ] {
            let message = checked(url).unwrap_err().to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
        assert_eq!(shown(&parse("https://h:81/a/b.png?x=1#f").unwrap()), "https://h:81/a/b.png?...");
    }

    #[test]
    fn file_names_come_from_the_last_segment() {
        for (url, name) in [
            ("http://h/a/cat.png?x=1", "cat.png"),
            ("http://h/a/grumpy%20cat.png", "grumpy cat.png"),
            ("http://h/%E7%8C%AB.png", "猫.png"),
            ("http://h/a/", ""),
            ("http://h", ""),
            ("http://h/x%2F..%2Fpasswd", "passwd"),
            ("http://h/..%5C..%5Ca.png", "a.png"),
            ("http://h/a%2f%2e%2e", ""),
            ("http://h/a%00%0a.png", "a.png"),
            ("http://h/%ff.png", "\u{fffd}.png"),
        ] {
            assert_eq!(file_name(&parse(url).unwrap()), name, "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(raw in ".{0,80}|(http|file|x)://?[-a-z0-9.:@\\[\\]/%?#]{0,40}") {
            if let Ok(url) = parse(&raw) {
                let _ = check(&url, &AddressRule::public_only());
                prop_assert!(!file_name(&url).contains('/'));
                prop_assert!(shown(&url).chars().count() < 1000);
            }
        }
    }
}
