//! Questions in, answers out, over UDP and TCP.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_server::net::runtime::Time;
use hickory_server::proto::ProtoError;
use hickory_server::proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::SOA;
use hickory_server::proto::rr::{Name, RData, Record as WireRecord};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use super::super::{SandboxError, listen, lock};
use super::{Answer, Checking, Failure, Outcome, Record, Zone, absolute, normal};

/// A server that answers from a zone, over UDP and TCP on the same port, until it is dropped
///
/// It is authoritative for the root and all below it. Its records may not be kept by a cache.
pub struct Server {
    address: SocketAddr,
    queries: Queries,
    _server: hickory_server::Server<Handler>,
}

type Queries = Arc<Mutex<Vec<Question>>>;

impl Server {
    /// Starts a server on a loopback address; port 0 stands for any free port
    ///
    /// # Errors
    /// [`SandboxError`] for an address elsewhere or one that is taken.
    pub async fn start(address: SocketAddr, zone: Zone) -> Result<Self, SandboxError> {
        let (tcp, udp) = bind(address).await?;
        let address = tcp
            .local_addr()
            .map_err(|source| unusable(address, source))?;
        let queries = Queries::default();
        let mut server = hickory_server::Server::new(Handler {
            zone,
            queries: queries.clone(),
        });
        server.register_socket(udp);
        server.register_listener(tcp, IDLE, RESPONSES);
        Ok(Self {
            address,
            queries,
            _server: server,
        })
    }

    /// Where it listens
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked so far, oldest first, whether it answered or not
    pub fn queries(&self) -> Vec<Question> {
        lock(&self.queries).clone()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.address)
    }
}

/// A question that a server was asked
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Lower case, without a dot at the end
    pub name: String,
    /// Type of record, as `AAAA`
    pub kind: String,
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, UdpSocket), SandboxError> {
    let mut attempts = 1;
    loop {
        let tcp = listen(address).await?;
        let same = tcp
            .local_addr()
            .map_err(|source| unusable(address, source))?;
        match UdpSocket::bind(same).await {
            Ok(udp) => return Ok((tcp, udp)),
            // A port that is free for TCP may be taken for UDP: only both together will do.
            Err(error)
                if error.kind() == ErrorKind::AddrInUse
                    && address.port() == 0
                    && attempts < MAX_ATTEMPTS =>
            {
                attempts += 1;
            }
            Err(source) => return Err(unusable(same, source)),
        }
    }
}

fn unusable(address: SocketAddr, source: std::io::Error) -> SandboxError {
    SandboxError::Listen {
        place: address.to_string(),
        source,
    }
}

struct Handler {
    zone: Zone,
    queries: Queries,
}

impl RequestHandler for Handler {
    // The trait is made for `async_trait`, of which this is the written-out form.
    fn handle_request<'s, 'r, 'f, R, T>(
        &'s self,
        request: &'r Request,
        response_handle: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'f>>
    where
        's: 'f,
        'r: 'f,
        Self: 'f,
        R: ResponseHandler + 'f,
        T: Time + 'f,
    {
        Box::pin(self.respond(request, response_handle))
    }
}

impl Handler {
    async fn respond(&self, request: &Request, mut handle: impl ResponseHandler) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let unsent = ResponseInfo::from(Header {
            metadata,
            counts: HeaderCounts::default(),
        });
        let Some(reply) = self.reply(request) else {
            return unsent;
        };
        metadata.response_code = reply.code;
        // RFC 6891 section 6.1.1: whoever asks with EDNS is answered with it.
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().max(512));
            edns
        });
        let response = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(
            metadata,
            &reply.answers,
            &[],
            &reply.soa,
            &[],
        );
        // A client that has gone needs no answer.
        handle.send_response(response).await.unwrap_or(unsent)
    }

    /// What to say; `None` is silence
    fn reply(&self, request: &Request) -> Option<Reply> {
        let Ok(info) = request.request_info() else {
            return Some(Reply::empty(ResponseCode::FormErr));
        };
        let kind = info.query.query_type();
        let name = normal(&info.query.name().to_ascii());
        lock(&self.queries).push(Question {
            name: name.clone(),
            kind: kind.to_string(),
        });
        let checking = match request.metadata.checking_disabled {
            true => Checking::Disabled,
            false => Checking::Enabled,
        };
        let Answer { found, outcome } = self.zone.find(&name, kind, checking);
        let reply = match outcome {
            Outcome::Found => Reply::with(ResponseCode::NoError, found),
            Outcome::NoData => Reply::with(ResponseCode::NoError, found).and_then(Reply::and_soa),
            Outcome::NoSuchName => {
                Reply::with(ResponseCode::NXDomain, found).and_then(Reply::and_soa)
            }
            Outcome::Failed(Failure::ServFail | Failure::ServFailFor(_) | Failure::Bogus) => {
                Ok(Reply::empty(ResponseCode::ServFail))
            }
            Outcome::Failed(Failure::NotImplemented) => Ok(Reply::empty(ResponseCode::NotImp)),
            Outcome::Failed(Failure::Refused) => Ok(Reply::empty(ResponseCode::Refused)),
            Outcome::Failed(Failure::NoAnswer) => return None,
        };
        // Records that cannot be sent, for a name in them that is none, are a server's failure.
        Some(reply.unwrap_or_else(|_| Reply::empty(ResponseCode::ServFail)))
    }
}

struct Reply {
    code: ResponseCode,
    answers: Vec<WireRecord>,
    soa: Option<WireRecord>,
}

impl Reply {
    fn empty(code: ResponseCode) -> Self {
        Self {
            code,
            answers: Vec::new(),
            soa: None,
        }
    }

    fn with(code: ResponseCode, found: Vec<(String, Record)>) -> Result<Self, ProtoError> {
        let mut answers = Vec::with_capacity(found.len());
        for (owner, record) in found {
            answers.push(WireRecord::from_rdata(
                absolute(&owner)?,
                TTL,
                record.data()?,
            ));
        }
        Ok(Self {
            answers,
            ..Self::empty(code)
        })
    }

    /// The same, as an answer that there is nothing (RFC 2308 section 2)
    fn and_soa(self) -> Result<Self, ProtoError> {
        Ok(Self {
            soa: Some(soa()?),
            ..self
        })
    }
}

/// The SOA of the root, which every name is below
fn soa() -> Result<WireRecord, ProtoError> {
    let server = absolute("ns.sandbox.test")?;
    let mailbox = absolute("nobody.sandbox.test")?;
    let data = RData::SOA(SOA::new(server, mailbox, 1, 3600, 600, 86400, TTL));
    Ok(WireRecord::from_rdata(Name::root(), TTL, data))
}

/// A zone may change at any time, so nobody is to keep what it said.
const TTL: u32 = 0;
const MAX_ATTEMPTS: u32 = 16;
/// After this long without a question a TCP connection is closed
const IDLE: Duration = Duration::from_secs(30);
/// Answers that wait for a TCP client
const RESPONSES: usize = 16;
