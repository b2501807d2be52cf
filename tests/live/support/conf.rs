//! nginx.conf, for nginx as root and as an unprivileged user.

use std::fmt::Write;

/// As whom nginx runs, which decides its ports and the place of its pid file
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// As root, at ports 80 and 443
    Root,
    /// As uid 101 with group 33 (`www-data` here and there), at ports 8080 and 8443
    Unprivileged,
}

impl Flavour {
    /// The port in the container at which nginx speaks HTTP
    pub(crate) fn http_port(self) -> u16 {
        match self {
            Self::Root => 80,
            Self::Unprivileged => 8080,
        }
    }

    /// The port in the container at which nginx speaks TLS
    pub(crate) fn https_port(self) -> u16 {
        match self {
            Self::Root => 443,
            Self::Unprivileged => 8443,
        }
    }

    /// What `docker run --user` gets
    pub(crate) fn user(self) -> &'static str {
        match self {
            Self::Root => "0:0",
            Self::Unprivileged => "101:33",
        }
    }

    fn globals(self) -> &'static str {
        match self {
            Self::Root => "pid /run/nginx.pid;\n",
            Self::Unprivileged => "pid /tmp/nginx.pid;\n",
        }
    }

    // The compiled-in places belong to root in most images.
    fn paths(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Unprivileged => {
                "    client_body_temp_path /tmp/body;\n    proxy_temp_path /tmp/proxy;\n    \
                 fastcgi_temp_path /tmp/fastcgi;\n    uwsgi_temp_path /tmp/uwsgi;\n    \
                 scgi_temp_path /tmp/scgi;\n"
            }
        }
    }
}

/// One HTTPS server block
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// What `server_name` lists
    pub(crate) names: &'a [&'a str],
    /// The directory below [`Site::directory`] that holds the certificate; `None` is no HTTPS block
    pub(crate) lineage: Option<&'a str>,
    /// Where the lineages are, in the container
    pub(crate) directory: &'a str,
}

impl Default for Site<'_> {
    fn default() -> Self {
        Self {
            names: &[],
            lineage: None,
            directory: "/etc/letsencrypt/live",
        }
    }
}

/// A configuration that answers challenges and has no HTTPS block yet
pub(crate) fn http_only(flavour: Flavour) -> String {
    site(flavour, &[])
}

/// A configuration that answers challenges for every name, and each site at the HTTPS port
pub(crate) fn site(flavour: Flavour, sites: &[Site<'_>]) -> String {
    let (http, https) = (flavour.http_port(), flavour.https_port());
    let mut conf = flavour.globals().to_owned();
    conf +=
        "worker_processes 1;\nerror_log stderr notice;\nevents {}\nhttp {\n    access_log off;\n";
    conf += "    server_names_hash_bucket_size 128;\n";
    conf += flavour.paths();
    let _ = write!(
        conf,
        "    server {{
        listen {http} default_server;
        location ^~ /.well-known/acme-challenge/ {{ root /var/www/certbot; }}
        location / {{ return 301 https://$host$request_uri; }}
    }}
"
    );
    for Site {
        names,
        lineage,
        directory,
    } in sites
    {
        let Some(lineage) = lineage else { continue };
        let _ = write!(
            conf,
            "    server {{
        listen {https} ssl;
        server_name {};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {directory}/{lineage}/fullchain.pem;
        ssl_certificate_key {directory}/{lineage}/privkey.pem;
        location / {{ return 200 \"$ssl_server_name\\n\"; }}
    }}
",
            names.join(" ")
        );
    }
    conf + "}\n"
}
