//! The sockets of the name server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Names;
use super::answer::{Answer, PLAIN_UDP, answer, failed};

/// The port of DNS.
const PORT: u16 = 53;

/// Questions over UDP that are being handed on at once for one address: a browser that opens some dozen tabs. Further ones
/// are dropped, and asked again.
const MAX_FORWARDED: usize = 256;

/// Connections at once; each holds a message of 64 KiB at most.
const MAX_CONNECTIONS: usize = 16;

/// How long one resolver may take; the C library waits five seconds for all.
const RESOLVER_LIMIT: Duration = Duration::from_secs(2);

/// How long a connection may be idle.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// Pause after a failed reading, so that one that fails for good costs nothing.
const REPORT_PAUSE: Duration = Duration::from_millis(10);

/// Largest message over UDP that is read, bytes: more than any resolver sends (RFC 9715).
const MAX_UDP: usize = 4_096;

/// Answers on the device's own addresses until it is dropped.
#[derive(Debug)]
pub struct NameServer {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    names: RwLock<Arc<Names>>,
    own: Vec<IpAddr>,
    resolver_port: u16,
    connections: Arc<Semaphore>,
}

impl NameServer {
    /// Answers at port 53 of `own`, which this machine must have. Needs a tokio runtime.
    ///
    /// # Errors
    /// The address that cannot be used, with the reason: often another name server that has the
    /// port on all addresses.
    pub fn start(own: &[IpAddr], names: Names) -> Result<Self, (SocketAddr, io::Error)> {
        Self::start_on(own, (PORT, PORT), names).map(|(server, _)| server)
    }

    fn start_on(
        own: &[IpAddr],
        (port, resolver_port): (u16, u16),
        names: Names,
    ) -> Result<(Self, Vec<SocketAddr>), (SocketAddr, io::Error)> {
        let shared = Arc::new(Shared {
            names: RwLock::new(Arc::new(names)),
            own: own.to_vec(),
            resolver_port,
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        });
        let mut tasks = JoinSet::new();
        let mut bound = Vec::new();
        for ip in own {
            let address = SocketAddr::new(*ip, port);
            let (udp, tcp) = bind(address).map_err(|error| (address, error))?;
            bound.extend(udp.local_addr());
            tasks.spawn(serve_udp(shared.clone(), Arc::new(udp)));
            tasks.spawn(serve_tcp(shared.clone(), tcp));
        }
        let server = Self {
            shared,
            _tasks: tasks,
        };
        Ok((server, bound))
    }

    /// Answers with these names from now on.
    pub fn set(&self, names: Names) {
        let mut current = self
            .shared
            .names
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(names);
    }
}

impl Shared {
    fn names(&self) -> Arc<Names> {
        self.names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether it is this device that asks.
    fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.own.contains(&ip)
    }

    /// What the first of the resolvers that answers says, or that none did.
    async fn hand_on(
        &self,
        resolvers: Vec<IpAddr>,
        question: &[u8],
        over: Over,
    ) -> Option<Vec<u8>> {
        for ip in resolvers {
            if self.own.contains(&ip) {
                continue;
            }
            let resolver = SocketAddr::new(ip, self.resolver_port);
            let asked = async {
                match over {
                    Over::Udp => ask_udp(resolver, question).await,
                    Over::Tcp => ask_tcp(resolver, question).await,
                }
            };
            if let Ok(Ok(bytes)) = timeout(RESOLVER_LIMIT, asked).await {
                return Some(bytes);
            }
        }
        failed(question)
    }
}

/// How a question came, and is handed on.
#[derive(Debug, Clone, Copy)]
enum Over {
    Udp,
    Tcp,
}

/// Both sockets on one port.
fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let udp = std::net::UdpSocket::bind(address)?;
    udp.set_nonblocking(true)?;
    let tcp = std::net::TcpListener::bind(udp.local_addr()?)?;
    tcp.set_nonblocking(true)?;
    Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?))
}

async fn serve_udp(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut buffer = [0; MAX_UDP];
    let mut forwarded = JoinSet::new();
    loop {
        while forwarded.try_join_next().is_some() {}
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            // Reports about answers to who has gone meanwhile.
            tokio::time::sleep(REPORT_PAUSE).await;
            continue;
        };
        if !shared.is_own(from.ip()) {
            continue;
        }
        match answer(&shared.names(), &buffer[..length], PLAIN_UDP) {
            Answer::Silence => {}
            Answer::Reply(bytes) => {
                let _ = socket.send_to(&bytes, from).await;
            }
            Answer::Forward(resolvers) if forwarded.len() < MAX_FORWARDED => {
                let question = buffer[..length].to_vec();
                let (shared, socket) = (shared.clone(), socket.clone());
                forwarded.spawn(async move {
                    let found = shared.hand_on(resolvers, &question, Over::Udp).await;
                    if let Some(bytes) = found {
                        let _ = socket.send_to(&bytes, from).await;
                    }
                });
            }
            Answer::Forward(_) => {}
        }
    }
}

async fn ask_udp(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; MAX_UDP];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // The first two bytes name the question.
        if length > 2 && buffer[..2] == question[..2] {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn serve_tcp(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = shared.connections.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, from)) if shared.is_own(from.ip()) => {
                let shared = shared.clone();
                connections.spawn(async move {
                    // However it ends, there is nobody to tell.
                    let _ = serve_stream(&shared, stream).await;
                    drop(permit);
                });
            }
            Ok(_) => {}
            // Out of descriptors: others may end meanwhile.
            Err(_) => tokio::time::sleep(RESOLVER_LIMIT).await,
        }
    }
}

async fn serve_stream(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let question = timeout(IDLE_LIMIT, read_message(&mut stream)).await??;
        let bytes = match answer(&shared.names(), &question, usize::from(u16::MAX)) {
            Answer::Silence => return Ok(()),
            Answer::Reply(bytes) => bytes,
            Answer::Forward(resolvers) => {
                match shared.hand_on(resolvers, &question, Over::Tcp).await {
                    Some(bytes) => bytes,
                    None => return Ok(()),
                }
            }
        };
        timeout(IDLE_LIMIT, write_message(&mut stream, &bytes)).await??;
    }
}

async fn ask_tcp(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    write_message(&mut stream, question).await?;
    read_message(&mut stream).await
}

/// A message with its length before it (RFC 1035, section 4.2.2).
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn question() -> Vec<u8> {
        let mut message = Message::new(9, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(
            Name::from_ascii("anna.dn.").unwrap(),
            RecordType::A,
        ));
        message.to_vec().unwrap()
    }

    fn names(address: [u8; 4]) -> Names {
        let mut names = Names::default();
        names.add("anna", &[address.into()]);
        names
    }

    fn found(bytes: &[u8]) -> String {
        Message::from_vec(bytes).unwrap().answers[0]
            .data
            .to_string()
    }

    #[tokio::test]
    async fn the_same_is_said_over_udp_and_tcp_and_new_names_count_at_once() {
        let own = [IpAddr::from([127, 0, 0, 1])];
        let (server, bound) = NameServer::start_on(&own, (0, PORT), names([10, 0, 0, 9])).unwrap();
        assert_eq!(
            found(&ask_udp(bound[0], &question()).await.unwrap()),
            "10.0.0.9"
        );
        assert_eq!(
            found(&ask_tcp(bound[0], &question()).await.unwrap()),
            "10.0.0.9"
        );
        server.set(names([10, 0, 0, 8]));
        assert_eq!(
            found(&ask_udp(bound[0], &question()).await.unwrap()),
            "10.0.0.8"
        );
    }

    #[tokio::test]
    async fn a_connection_more_than_there_may_be_waits_for_another_to_end() {
        let own = [IpAddr::from([127, 0, 0, 1])];
        let (_server, bound) = NameServer::start_on(&own, (0, PORT), names([10, 0, 0, 9])).unwrap();
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(bound[0]).await.unwrap();
            write_message(&mut stream, &question()).await.unwrap();
            read_message(&mut stream).await.unwrap();
            held.push(stream);
        }
        let mut one_more = TcpStream::connect(bound[0]).await.unwrap();
        write_message(&mut one_more, &question()).await.unwrap();
        let early = timeout(Duration::from_millis(50), read_message(&mut one_more)).await;
        assert!(early.is_err(), "answered past the bound");
        held.pop();
        assert_eq!(
            found(&read_message(&mut one_more).await.unwrap()),
            "10.0.0.9"
        );
    }

    #[tokio::test]
    async fn no_more_questions_are_handed_on_at_once_than_the_bound() {
        // Our own address among the resolvers is passed over; this one answers nobody.
        let silent = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let own = [IpAddr::from([127, 0, 0, 1])];
        let resolvers = vec![own[0], IpAddr::from([127, 0, 0, 2])];
        let names = Names::new(&crate::configuration::DnsSettings::default(), resolvers);
        let (_server, bound) = NameServer::start_on(&own, (0, port), names).unwrap();
        let asking = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut message = Message::new(9, MessageType::Query, OpCode::Query);
        let name = Name::from_ascii("www.example.").unwrap();
        message.add_query(Query::query(name, RecordType::A));
        let bytes = message.to_vec().unwrap();
        let mut buffer = [0; MAX_UDP];
        for _ in 0..MAX_FORWARDED {
            asking.send_to(&bytes, bound[0]).await.unwrap();
            silent.recv(&mut buffer).await.unwrap();
        }
        asking.send_to(&bytes, bound[0]).await.unwrap();
        let one_more = timeout(Duration::from_millis(50), silent.recv(&mut buffer)).await;
        assert!(one_more.is_err(), "handed on past the bound");
        // The first ones fail in time, and say so.
        asking.recv(&mut buffer).await.unwrap();
        let told = Message::from_vec(&buffer[..bytes.len()]).unwrap();
        assert_eq!(
            told.metadata.response_code,
            hickory_proto::op::ResponseCode::ServFail
        );
    }

    #[tokio::test]
    async fn an_address_that_is_not_ours_is_named() {
        let foreign = [IpAddr::from([192, 0, 2, 1])];
        let (address, _) = NameServer::start(&foreign, Names::default()).unwrap_err();
        assert_eq!(address.to_string(), "192.0.2.1:53");
    }
}
