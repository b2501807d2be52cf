//! Lines of nginx's configuration as they are to be typed.

use std::path::Path;

use crate::finding::words;
use crate::name::DnsName;

/// A path as nginx reads it in a directive
pub(in crate::pipeline) fn path(path: &Path) -> String {
    word(&path.to_string_lossy())
}

/// A word of a directive: one that nginx would not take for one word stands in quotation marks
///
/// A dollar stays what it is to nginx, the beginning of a variable: nothing escapes it.
pub(super) fn word(text: &str) -> String {
    // The brace of `${name}` is nginx's own.
    let bare = text.replace("${", "");
    let is_split = bare.contains(|c: char| c.is_whitespace() || matches!(c, ';' | '{' | '\\'));
    if !is_split && !text.is_empty() && !text.starts_with(['"', '\'', '#', '}']) {
        return words::whole(text);
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    // What it shows of a line break is what nginx reads as one.
    format!("\"{}\"", words::whole(&quoted))
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
