//! The configuration as a real nginx reads it, and as it prints it.

use super::{STORAGE, Site, WEBROOT};

/// The configuration of these sites as files: path below `/etc/nginx`, and text
///
/// A real nginx reads them as they are.
pub fn files(sites: &[Site]) -> Vec<(String, String)> {
    let mut files = vec![("nginx.conf".to_owned(), main_file())];
    files.extend(
        in_order(sites)
            .iter()
            .map(|site| (file_name(site), site_file(site))),
    );
    files
}

/// The sites in the order in which nginx includes their files
pub(super) fn in_order(sites: &[Site]) -> Vec<Site> {
    let mut sites = sites.to_vec();
    sites.sort_by_cached_key(file_name);
    sites
}

/// What `nginx -T` prints
pub(super) fn dump(sites: &[Site]) -> String {
    files(sites)
        .into_iter()
        .map(|(name, text)| format!("# configuration file /etc/nginx/{name}:\n{text}\n"))
        .collect()
}

fn file_name(site: &Site) -> String {
    // A file with a star in its name would have to be quoted wherever it is named.
    format!("sites/{}.conf", site.title().replace('*', "_"))
}

fn main_file() -> String {
    format!(
        r"worker_processes 1;
events {{}}

http {{
    access_log off;

    server {{
        listen 80 default_server;
        location /.well-known/acme-challenge/ {{
            root {WEBROOT};
        }}
        location / {{
            return 301 https://$host$request_uri;
        }}
    }}

    include /etc/nginx/sites/*.conf;
}}
"
    )
}

fn site_file(site: &Site) -> String {
    let lineage = &site.lineage;
    let server_name = match site.names.as_slice() {
        [] => String::new(),
        names => format!("    server_name {};\n", names.join(" ")),
    };
    let page = page(site).replace('\n', "\\n");
    format!(
        r#"server {{
    listen 443 ssl;
{server_name}    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {STORAGE}/live/{lineage}/fullchain.pem;
    ssl_certificate_key {STORAGE}/live/{lineage}/privkey.pem;

    location / {{
        default_type text/plain;
        return 200 "{page}";
    }}
}}
"#
    )
}

/// The page that a site shows
pub(super) fn page(site: &Site) -> String {
    format!("{}, served by the sandbox\n", site.title())
}
