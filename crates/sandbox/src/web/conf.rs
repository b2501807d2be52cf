//! The configuration of sites as files that a real nginx reads too.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{CONFIGURATION, STORAGE, Site, WEBROOT};

/// Writes the configuration of these sites below a directory that nginx sees as
/// [`CONFIGURATION`], in place of the sites that are there
///
/// It serves nothing else until nginx is told.
///
/// # Errors
/// What making, writing or removing a file comes to; some may be written then.
pub fn write(directory: &Path, sites: &[Site]) -> io::Result<()> {
    let included = directory.join(SITES);
    fs::create_dir_all(&included)?;
    for entry in fs::read_dir(&included)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            fs::remove_file(path)?;
        }
    }
    for (name, text) in files(sites) {
        write_file(&directory.join(name), &text)?;
    }
    Ok(())
}

/// Writes a file that nginx can read whoever it runs as
#[expect(
    clippy::disallowed_methods,
    reason = "the store's writer is not for the sandbox, which uses layer 0 alone"
)]
fn write_file(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

/// The configuration of these sites as files: path below [`CONFIGURATION`], and text
///
/// A real nginx reads them as they are. The site whose file comes first in the alphabet is the
/// default one, as the configuration includes the files in this order.
pub fn files(sites: &[Site]) -> Vec<(String, String)> {
    let mut named: Vec<(String, String)> = sites
        .iter()
        .map(|site| (file_name(site), site_file(site)))
        .collect();
    named.sort();
    named.insert(0, ("nginx.conf".to_owned(), main_file()));
    named
}

fn file_name(site: &Site) -> String {
    // A file with a star in its name would have to be quoted wherever it is named.
    format!("{SITES}/{}.conf", site.title().replace('*', "_"))
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

    include {CONFIGURATION}/{SITES}/*.conf;
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
    let title = site.title();
    format!(
        r#"server {{
    listen 443 ssl;
{server_name}    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {STORAGE}/live/{lineage}/fullchain.pem;
    ssl_certificate_key {STORAGE}/live/{lineage}/privkey.pem;

    location / {{
        default_type text/plain;
        return 200 "{title}, served by the sandbox\n";
    }}
}}
"#
    )
}

/// Below the configuration
const SITES: &str = "sites";
