//! The directives that nginx knows, and where each may stand.

use std::ops::RangeInclusive;

/// What a directive is written in
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    Main,
    Events,
    Http,
    Server,
    /// The block for `/` in a server block, which answers for the whole site
    Home,
    Location,
    Upstream,
    ServerIf,
    LocationIf,
    LimitExcept,
    /// A block whose lines are no directives, such as those of `map`
    Data,
}

/// How a directive ends
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// With a semicolon
    Line,
    /// With a block
    Block,
}

impl Context {
    /// The context within a block of this one
    pub(super) fn within(self, directive: &str, arguments: &[String]) -> Self {
        match (directive, self) {
            ("events", _) => Self::Events,
            ("http", _) => Self::Http,
            ("server", _) => Self::Server,
            ("location", Self::Server) if arguments == ["/"] => Self::Home,
            ("location", _) => Self::Location,
            ("upstream", _) => Self::Upstream,
            ("if", Self::Server) => Self::ServerIf,
            ("if", _) => Self::LocationIf,
            ("limit_except", _) => Self::LimitExcept,
            _ => Self::Data,
        }
    }

    /// Its letter in the table
    const fn letter(self) -> char {
        match self {
            Self::Main => 'M',
            Self::Events => 'E',
            Self::Http => 'H',
            Self::Server => 'S',
            Self::Home | Self::Location => 'L',
            Self::Upstream => 'U',
            Self::ServerIf => 'I',
            Self::LocationIf => 'J',
            Self::LimitExcept => 'X',
            Self::Data => '-',
        }
    }
}

/// Whether a directive may stand where it does, with this body and so many arguments
///
/// # Errors
/// What nginx says, without the place.
pub(super) fn check(
    name: &str,
    context: Context,
    body: Body,
    arguments: usize,
) -> Result<(), String> {
    if context == Context::Data {
        return Ok(());
    }
    let mut rows = KNOWN
        .iter()
        .filter(|(.., names)| names.split_ascii_whitespace().any(|known| known == name))
        .peekable();
    if rows.peek().is_none() {
        return Err(format!("unknown directive \"{name}\""));
    }
    let Some((_, expected, number, _)) =
        rows.find(|(contexts, ..)| contexts.contains(context.letter()))
    else {
        return Err(format!("\"{name}\" directive is not allowed here"));
    };
    match (expected, body) {
        (Body::Line, Body::Block) => {
            Err(format!("directive \"{name}\" is not terminated by \";\""))
        }
        (Body::Block, Body::Line) => Err(format!("directive \"{name}\" has no opening \"{{\"")),
        _ if !number.contains(&arguments) => Err(format!(
            "invalid number of arguments in \"{name}\" directive"
        )),
        _ => Ok(()),
    }
}

const MANY: usize = usize::MAX;

/// Letters of the contexts, how the directive ends, how many arguments it takes, and its names
type Known = (&'static str, Body, RangeInclusive<usize>, &'static str);

/// As nginx 1.22 has them, and those of HTTP/2 and HTTP/3 that came later; modules that have to
/// be loaded first are left out
const KNOWN: [Known; 59] = [
    (
        "M",
        Body::Line,
        1..=1,
        "daemon debug_points env load_module lock_file master_process pcre_jit pid ssl_engine \
         timer_resolution worker_priority worker_processes worker_rlimit_core \
         worker_rlimit_nofile worker_shutdown_timeout working_directory",
    ),
    ("M", Body::Line, 1..=2, "user"),
    ("M", Body::Line, 1..=MANY, "worker_cpu_affinity"),
    ("M", Body::Line, 2..=3, "thread_pool"),
    ("M", Body::Block, 0..=0, "events http mail stream"),
    ("MEHSLUIJX", Body::Line, 1..=1, "include"),
    ("MHSL", Body::Line, 1..=MANY, "error_log"),
    (
        "E",
        Body::Line,
        1..=1,
        "accept_mutex accept_mutex_delay debug_connection epoll_events multi_accept use \
         worker_aio_requests worker_connections",
    ),
    (
        "H",
        Body::Line,
        1..=1,
        "http2_recv_buffer_size map_hash_bucket_size map_hash_max_size \
         server_names_hash_bucket_size server_names_hash_max_size variables_hash_bucket_size \
         variables_hash_max_size",
    ),
    ("H", Body::Line, 2..=2, "limit_conn_zone"),
    (
        "H",
        Body::Line,
        2..=MANY,
        "fastcgi_cache_path log_format proxy_cache_path scgi_cache_path uwsgi_cache_path",
    ),
    ("H", Body::Line, 3..=3, "limit_req_zone"),
    ("H", Body::Block, 0..=0, "server"),
    ("H", Body::Block, 1..=1, "upstream"),
    ("H", Body::Block, 1..=2, "geo"),
    ("H", Body::Block, 2..=2, "charset_map map split_clients"),
    (
        "HS",
        Body::Line,
        1..=1,
        "client_header_buffer_size client_header_timeout connection_pool_size http2 \
         http2_body_preread_size http2_idle_timeout http2_max_concurrent_pushes \
         http2_max_concurrent_streams http2_max_field_size http2_max_header_size \
         http2_max_requests http2_pool_size http2_recv_timeout http2_streams_index_size http3 \
         http3_hq http3_max_concurrent_streams http3_stream_buffer_size \
         ignore_invalid_headers max_headers merge_slashes quic_active_connection_id_limit \
         quic_gso quic_host_key quic_retry request_pool_size ssl_buffer_size ssl_certificate \
         ssl_certificate_compression ssl_certificate_key ssl_ciphers ssl_client_certificate \
         ssl_crl ssl_dhparam ssl_early_data ssl_ecdh_curve ssl_key_log ssl_ocsp \
         ssl_ocsp_cache ssl_ocsp_responder ssl_password_file ssl_prefer_server_ciphers \
         ssl_reject_handshake ssl_session_ticket_key ssl_session_tickets ssl_session_timeout \
         ssl_stapling ssl_stapling_file ssl_stapling_responder ssl_stapling_verify \
         ssl_trusted_certificate ssl_verify_client ssl_verify_depth underscores_in_headers",
    ),
    ("HS", Body::Line, 1..=2, "ssl_session_cache"),
    ("HS", Body::Line, 1..=3, "ssl_certificate_cache"),
    ("HS", Body::Line, 1..=MANY, "ssl_protocols"),
    (
        "HS",
        Body::Line,
        2..=2,
        "large_client_header_buffers ssl_conf_command",
    ),
    (
        "HSL",
        Body::Line,
        1..=1,
        "absolute_redirect add_after_body add_before_body aio aio_write ancient_browser_value \
         auth_delay auth_request autoindex autoindex_exact_size autoindex_format \
         autoindex_localtime chunked_transfer_encoding client_body_buffer_size \
         client_body_in_file_only client_body_in_single_buffer client_body_timeout \
         client_max_body_size create_full_put_path default_type directio directio_alignment \
         etag fastcgi_buffer_size fastcgi_buffering fastcgi_busy_buffers_size fastcgi_cache \
         fastcgi_cache_background_update fastcgi_cache_key fastcgi_cache_lock \
         fastcgi_cache_lock_age fastcgi_cache_lock_timeout fastcgi_cache_max_range_offset \
         fastcgi_cache_min_uses fastcgi_cache_revalidate fastcgi_catch_stderr \
         fastcgi_connect_timeout fastcgi_force_ranges fastcgi_hide_header \
         fastcgi_ignore_client_abort fastcgi_index fastcgi_intercept_errors fastcgi_keep_conn \
         fastcgi_limit_rate fastcgi_max_temp_file_size fastcgi_next_upstream_timeout \
         fastcgi_next_upstream_tries fastcgi_pass_header fastcgi_pass_request_body \
         fastcgi_pass_request_headers fastcgi_read_timeout fastcgi_request_buffering \
         fastcgi_send_lowat fastcgi_send_timeout fastcgi_socket_keepalive \
         fastcgi_split_path_info fastcgi_store fastcgi_temp_file_write_size grpc_buffer_size \
         grpc_connect_timeout grpc_hide_header grpc_intercept_errors \
         grpc_next_upstream_timeout grpc_next_upstream_tries grpc_pass_header \
         grpc_read_timeout grpc_send_timeout grpc_socket_keepalive grpc_ssl_certificate \
         grpc_ssl_certificate_key grpc_ssl_ciphers grpc_ssl_crl grpc_ssl_name \
         grpc_ssl_password_file grpc_ssl_server_name grpc_ssl_session_reuse \
         grpc_ssl_trusted_certificate grpc_ssl_verify grpc_ssl_verify_depth gunzip \
         gzip_comp_level gzip_hash gzip_http_version gzip_min_length gzip_no_buffer \
         gzip_static gzip_vary gzip_window http2_chunk_size http2_push http2_push_preload \
         if_modified_since keepalive_min_timeout limit_conn_dry_run limit_conn_log_level \
         limit_conn_status limit_req_dry_run limit_req_log_level limit_req_status \
         lingering_close lingering_time lingering_timeout log_not_found log_subrequest \
         max_ranges memcached_buffer_size memcached_connect_timeout memcached_gzip_flag \
         memcached_next_upstream_timeout memcached_next_upstream_tries memcached_read_timeout \
         memcached_send_timeout memcached_socket_keepalive min_delete_depth mirror \
         mirror_request_body modern_browser_value mp4_buffer_size mp4_max_buffer_size \
         mp4_start_key_frame msie_padding msie_refresh open_file_cache_errors \
         open_file_cache_events open_file_cache_min_uses open_file_cache_valid \
         port_in_redirect postpone_gzipping postpone_output proxy_buffer_size proxy_buffering \
         proxy_busy_buffers_size proxy_cache proxy_cache_background_update \
         proxy_cache_convert_head proxy_cache_key proxy_cache_lock proxy_cache_lock_age \
         proxy_cache_lock_timeout proxy_cache_max_range_offset proxy_cache_min_uses \
         proxy_cache_revalidate proxy_connect_timeout proxy_force_ranges \
         proxy_headers_hash_bucket_size proxy_headers_hash_max_size proxy_hide_header \
         proxy_http_version proxy_ignore_client_abort proxy_intercept_errors proxy_limit_rate \
         proxy_max_temp_file_size proxy_method proxy_next_upstream_timeout \
         proxy_next_upstream_tries proxy_pass_header proxy_pass_request_body \
         proxy_pass_request_headers proxy_pass_trailers proxy_read_timeout \
         proxy_request_buffering proxy_send_lowat proxy_send_timeout proxy_set_body \
         proxy_socket_keepalive proxy_ssl_certificate proxy_ssl_certificate_key \
         proxy_ssl_ciphers proxy_ssl_crl proxy_ssl_name proxy_ssl_password_file \
         proxy_ssl_server_name proxy_ssl_session_reuse proxy_ssl_trusted_certificate \
         proxy_ssl_verify proxy_ssl_verify_depth proxy_store proxy_temp_file_write_size \
         read_ahead real_ip_header real_ip_recursive recursive_error_pages \
         reset_timedout_connection resolver_timeout satisfy scgi_buffer_size scgi_buffering \
         scgi_busy_buffers_size scgi_cache scgi_cache_background_update scgi_cache_key \
         scgi_cache_lock scgi_cache_lock_age scgi_cache_lock_timeout \
         scgi_cache_max_range_offset scgi_cache_min_uses scgi_cache_revalidate \
         scgi_connect_timeout scgi_force_ranges scgi_hide_header scgi_ignore_client_abort \
         scgi_intercept_errors scgi_limit_rate scgi_max_temp_file_size \
         scgi_next_upstream_timeout scgi_next_upstream_tries scgi_pass_header \
         scgi_pass_request_body scgi_pass_request_headers scgi_read_timeout \
         scgi_request_buffering scgi_send_timeout scgi_socket_keepalive scgi_store \
         scgi_temp_file_write_size secure_link secure_link_md5 secure_link_secret send_lowat \
         send_timeout sendfile_max_chunk server_name_in_redirect server_tokens \
         set_real_ip_from slice ssi_ignore_recycled_buffers ssi_last_modified \
         ssi_min_file_chunk ssi_silent_errors ssi_value_length sub_filter_last_modified \
         sub_filter_once subrequest_output_buffer_size tcp_nodelay tcp_nopush \
         types_hash_bucket_size types_hash_max_size userid userid_domain userid_expires \
         userid_mark userid_name userid_p3p userid_path userid_service uwsgi_buffer_size \
         uwsgi_buffering uwsgi_busy_buffers_size uwsgi_cache uwsgi_cache_background_update \
         uwsgi_cache_key uwsgi_cache_lock uwsgi_cache_lock_age uwsgi_cache_lock_timeout \
         uwsgi_cache_max_range_offset uwsgi_cache_min_uses uwsgi_cache_revalidate \
         uwsgi_connect_timeout uwsgi_force_ranges uwsgi_hide_header uwsgi_ignore_client_abort \
         uwsgi_intercept_errors uwsgi_limit_rate uwsgi_max_temp_file_size uwsgi_modifier1 \
         uwsgi_modifier2 uwsgi_next_upstream_timeout uwsgi_next_upstream_tries \
         uwsgi_pass_header uwsgi_pass_request_body uwsgi_pass_request_headers \
         uwsgi_read_timeout uwsgi_request_buffering uwsgi_send_timeout uwsgi_socket_keepalive \
         uwsgi_ssl_certificate uwsgi_ssl_certificate_key uwsgi_ssl_ciphers uwsgi_ssl_crl \
         uwsgi_ssl_name uwsgi_ssl_password_file uwsgi_ssl_server_name uwsgi_ssl_session_reuse \
         uwsgi_ssl_trusted_certificate uwsgi_ssl_verify uwsgi_ssl_verify_depth uwsgi_store \
         uwsgi_string uwsgi_temp_file_write_size",
    ),
    (
        "HSL",
        Body::Line,
        1..=2,
        "disable_symlinks fastcgi_bind grpc_bind keepalive_disable memcached_bind \
         modern_browser open_file_cache proxy_bind proxy_cookie_domain proxy_cookie_path \
         proxy_redirect scgi_bind uwsgi_bind",
    ),
    (
        "HSL",
        Body::Line,
        1..=3,
        "dav_access fastcgi_store_access limit_req proxy_store_access scgi_store_access \
         userid_flags uwsgi_store_access",
    ),
    (
        "HSL",
        Body::Line,
        1..=4,
        "client_body_temp_path fastcgi_temp_path open_log_file_cache proxy_cookie_flags \
         proxy_temp_path scgi_temp_path uwsgi_temp_path",
    ),
    (
        "HSL",
        Body::Line,
        1..=MANY,
        "addition_types ancient_browser charset_types dav_methods fastcgi_cache_bypass \
         fastcgi_cache_methods fastcgi_cache_use_stale fastcgi_cache_valid \
         fastcgi_ignore_headers fastcgi_next_upstream fastcgi_no_cache grpc_ignore_headers \
         grpc_next_upstream grpc_ssl_protocols gzip_disable gzip_proxied gzip_types index \
         memcached_next_upstream proxy_cache_bypass proxy_cache_methods proxy_cache_use_stale \
         proxy_cache_valid proxy_ignore_headers proxy_next_upstream proxy_no_cache \
         proxy_ssl_protocols resolver scgi_cache_bypass scgi_cache_methods \
         scgi_cache_use_stale scgi_cache_valid scgi_ignore_headers scgi_next_upstream \
         scgi_no_cache ssi_types sub_filter_types uwsgi_cache_bypass uwsgi_cache_methods \
         uwsgi_cache_use_stale uwsgi_cache_valid uwsgi_ignore_headers uwsgi_next_upstream \
         uwsgi_no_cache uwsgi_ssl_protocols",
    ),
    (
        "HSL",
        Body::Line,
        2..=2,
        "auth_request_set fastcgi_buffers grpc_set_header grpc_ssl_conf_command \
         gunzip_buffers gzip_buffers limit_conn output_buffers proxy_buffers proxy_set_header \
         proxy_ssl_conf_command scgi_buffers sub_filter uwsgi_buffers uwsgi_ssl_conf_command",
    ),
    (
        "HSL",
        Body::Line,
        2..=3,
        "fastcgi_param scgi_param uwsgi_param",
    ),
    ("HSL", Body::Block, 0..=0, "types"),
    (
        "HSLU",
        Body::Line,
        1..=1,
        "keepalive_requests keepalive_time",
    ),
    ("HSLU", Body::Line, 1..=2, "keepalive_timeout"),
    (
        "HSLIJ",
        Body::Line,
        1..=1,
        "rewrite_log uninitialized_variable_warn",
    ),
    (
        "HSLJ",
        Body::Line,
        1..=1,
        "charset gzip limit_rate limit_rate_after override_charset post_action root sendfile \
         source_charset ssi",
    ),
    ("HSLJ", Body::Line, 1..=2, "expires"),
    ("HSLJ", Body::Line, 2..=3, "add_header add_trailer"),
    ("HSLJ", Body::Line, 2..=MANY, "error_page"),
    ("HSLJX", Body::Line, 1..=MANY, "access_log"),
    (
        "HSLX",
        Body::Line,
        1..=1,
        "allow auth_basic auth_basic_user_file deny",
    ),
    ("S", Body::Line, 1..=MANY, "listen server_name"),
    ("SL", Body::Line, 0..=1, "stub_status"),
    (
        "SL",
        Body::Line,
        1..=1,
        "referer_hash_bucket_size referer_hash_max_size",
    ),
    ("SL", Body::Line, 1..=MANY, "valid_referers"),
    ("SL", Body::Line, 2..=MANY, "try_files"),
    ("SL", Body::Block, 1..=2, "location"),
    ("SL", Body::Block, 1..=MANY, "if"),
    ("SLIJ", Body::Line, 0..=0, "break"),
    ("SLIJ", Body::Line, 1..=2, "return"),
    ("SLIJ", Body::Line, 2..=2, "set"),
    ("SLIJ", Body::Line, 2..=3, "rewrite"),
    ("L", Body::Line, 0..=0, "empty_gif flv internal mp4"),
    ("L", Body::Line, 1..=1, "alias random_index"),
    ("L", Body::Block, 1..=MANY, "limit_except"),
    (
        "LJ",
        Body::Line,
        1..=1,
        "fastcgi_pass grpc_pass memcached_pass scgi_pass uwsgi_pass",
    ),
    ("LJX", Body::Line, 1..=1, "proxy_pass"),
    ("U", Body::Line, 0..=0, "ip_hash least_conn"),
    ("U", Body::Line, 0..=2, "random"),
    ("U", Body::Line, 1..=1, "keepalive"),
    ("U", Body::Line, 1..=2, "hash zone"),
    ("U", Body::Line, 1..=MANY, "server"),
];
