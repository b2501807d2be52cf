//! Where a Docker engine listens.

use std::path::Path;

/// The API of an engine, as `docker` in `[nginx]` and `$DOCKER_HOST` name it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineAddress<'u> {
    /// A socket of this host
    Socket(&'u Path),
    /// A URL with a host, without TLS
    Http(&'u str),
}

impl<'u> EngineAddress<'u> {
    /// What a text names; `None` where that is no Docker API, or one of which something is missing
    pub fn parse(text: &'u str) -> Option<Self> {
        let socket = text.strip_prefix("unix://").unwrap_or(text);
        if socket.starts_with('/') {
            return (!socket.ends_with('/')).then(|| Self::Socket(Path::new(socket)));
        }
        let mut schemes = ["tcp://", "http://"].iter();
        let rest = schemes.find_map(|scheme| text.strip_prefix(scheme))?;
        let authority: http::uri::Authority = rest.trim_end_matches('/').parse().ok()?;
        let port = authority.as_str().strip_prefix(authority.host())?;
        let is_port = |port: &str| port.parse::<u16>().is_ok();
        let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        (is_whole && !authority.host().is_empty()).then_some(Self::Http(text))
    }

    /// What to write instead of a text that is no such address
    pub const CURE: &'static str =
        "use a socket path, unix:///PATH, or tcp://HOST:PORT for an engine without TLS";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_named_by_a_socket_or_by_a_host() {
        #[track_caller]
        fn check(text: &str, expected: Option<EngineAddress<'_>>) {
            assert_eq!(EngineAddress::parse(text), expected, "{text}");
        }
        let socket = Some(EngineAddress::Socket(Path::new("/run/docker.sock")));
        check("/run/docker.sock", socket);
        check("unix:///run/docker.sock", socket);
        for good in [
            "tcp://proxy:2375",
            "tcp://127.0.0.1:2375/",
            "http://[::1]:2375",
            "tcp://proxy",
        ] {
            check(good, Some(EngineAddress::Http(good)));
        }
        for bad in [
            "",
            "/",
            "unix://",
            "unix://docker.sock",
            "docker.sock",
            "tcp://",
            "tcp:///",
            "tcp://:2375",
            "tcp://a:b",
            "http://",
            "https://proxy:2376",
            "ssh://root@host",
            "tcp://user@host:1",
            "tcp://a b",
        ] {
            check(bad, None);
        }
    }
}
