//! Lines of nginx's configuration as they are to be typed.

use std::path::Path;

use crate::name::DnsName;
pub(super) use crate::target::dump::word;

/// A path as nginx reads it in a directive
pub(in crate::pipeline) fn path(path: &Path) -> String {
    word(&path.to_string_lossy())
}

/// The lines that name the files of a lineage, for these directives
pub(super) fn certificate_lines(live: &Path, name: &DnsName, directives: &[&str]) -> String {
    let live = live.join(name.as_str());
    let line = |directive: &&str| {
        let file = live.join(file_of(directive));
        format!("    {directive:<19} {};", path(&file))
    };
    let lines: Vec<String> = directives.iter().map(line).collect();
    lines.join("\n")
}

/// The file of a lineage that a directive names
pub(super) fn file_of(directive: &str) -> &'static str {
    match directive {
        "ssl_certificate" => "fullchain.pem",
        _ => "privkey.pem",
    }
}

/// What names a certificate and its key
pub(super) const DIRECTIVES: [&str; 2] = ["ssl_certificate", "ssl_certificate_key"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::dump;

    #[test]
    fn nginx_reads_a_printed_path_as_it_is() {
        let paths = [
            "/live/shop.test/fullchain.pem",
            "/my live/a b",
            "/live;x/{}",
            "/a\\b\\",
            "/a\"b' c",
            "\"quoted\"",
            "'so'",
            "#comment",
            "/a\nb\tc",
            "/live/${name}/x",
        ];
        for expected in paths {
            let line = path(Path::new(expected));
            let text = format!(
                "# configuration file /etc/nginx/nginx.conf:\nserver {{ ssl_certificate {line}; listen 443 ssl; }}\n"
            );
            let found = dump::read(&text).unwrap();
            let block = &found.servers[0];
            assert_eq!(block.certificates[0].path, Path::new(expected), "{line}");
            assert_eq!(block.listens.len(), 1, "{line}");
        }
        assert_eq!(path(Path::new(paths[0])), paths[0]);
    }
}
