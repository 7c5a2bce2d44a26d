//! The broker on the network: listeners, and a task for each connection.

mod connection;
mod fetch;
mod listener;
mod sessions;

pub use listener::{Listener, ListenerError};

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidewater_env::random_id;
use tidewater_protocol::{Caller, Principal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;

use crate::broker::{Endpoint, Shared};
use crate::{Broker, BrokerError};
use sessions::FetchSessions;

/// Responses that may be large and are made at once, before they are counted.
const RESPONSES_IN_THE_MAKING: usize = 16;
/// Responses of this size and less are not counted: the socket takes them.
const SMALL_RESPONSE_BYTES: usize = 16 << 10;

/// Connections that a change while the broker runs leaves: enough to change it back.
pub(crate) const LEAST_CONNECTIONS: usize = 8;

/// What connections may take.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// `socket.request.max.bytes`: the largest request. Default 100 MiB.
    pub max_request_bytes: usize,
    /// Memory of all requests that are larger than a few KiB, together. Default 256 MiB.
    pub request_memory_bytes: usize,
    /// Memory of all responses larger than a few KiB that clients have yet to read, together. Default 256 MiB.
    pub response_memory_bytes: usize,
    /// `max.connections`: further ones are closed at once. Default 20,000.
    pub max_connections: usize,
    /// `max.incremental.fetch.session.cache.slots`: fetch sessions at once. Default 1,000.
    pub fetch_sessions: usize,
    /// `connections.max.idle.ms`: a connection without a request for so long is closed. Default 10 minutes.
    pub max_idle: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            max_request_bytes: 100 << 20,
            request_memory_bytes: 256 << 20,
            response_memory_bytes: 256 << 20,
            max_connections: 20_000,
            fetch_sessions: 1000,
            max_idle: Duration::from_secs(600),
        }
    }
}

/// What all connections share.
pub(crate) struct State {
    shared: Arc<Shared>,
    settings: ServerSettings,
    /// A permit for each connection, of which there are enough.
    connections: Arc<Semaphore>,
    /// A permit for each KiB of a request.
    memory: Arc<Semaphore>,
    /// A permit for each response that is being made.
    turns: Semaphore,
    /// A permit for each KiB of a response that is not read yet.
    unread: Semaphore,
    sessions: Mutex<FetchSessions>,
}

impl State {
    /// A place for another connection, if there is one. How many there are may change.
    fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let dynamic = self.shared.dynamic_number("max.connections").map(|most: usize| most.max(LEAST_CONNECTIONS));
        let most = dynamic.unwrap_or(self.settings.max_connections);
        let others = Semaphore::MAX_PERMITS - self.connections.available_permits();
        self.connections.clone().try_acquire_owned().ok().filter(|_| others < most)
    }

    /// Whether a large request may have to wait for the memory of others.
    fn memory_is_short(&self) -> bool {
        let needed = (self.settings.max_request_bytes / 1024).min(self.settings.request_memory_bytes / 1024);
        self.memory.available_permits() < needed
    }

    /// Waits for one's turn to make a response, of which there are few at once: each is counted before the next is made. One that has
    /// become larger than was thought waits when it is made.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// The same for a response of which so much is known beforehand. A small one waits for nobody.
    async fn turn_for(&self, length: usize) -> Option<SemaphorePermit<'_>> {
        if length > SMALL_RESPONSE_BYTES { self.turn().await } else { None }
    }

    /// Counts the memory of a response, once there is room for it.
    async fn count_response(&self, length: usize) -> Option<SemaphorePermit<'_>> {
        let kib = (length / 1024).min(self.settings.response_memory_bytes / 1024).max(1);
        self.unread.acquire_many(u32::try_from(kib).unwrap_or(u32::MAX)).await.ok()
    }

    /// Whether others wait for the memory of responses that are not read: whoever is next has all that there is.
    fn others_wait_for_room(&self) -> bool {
        self.unread.available_permits() == 0
    }
}

/// A broker that listens, until this is stopped; who drops it closes all connections at once.
#[must_use = "dropping it closes all connections"]
pub struct Server {
    addresses: BTreeMap<String, SocketAddr>,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
}

impl Server {
    /// Binds the listeners and serves those who connect. A port of 0 is one that is free; see [`Server::addresses`].
    ///
    /// # Errors
    /// When an address cannot be bound, or two listeners have one name.
    pub async fn start(broker: &Broker, listeners: &[Listener], settings: ServerSettings) -> Result<Self, BrokerError> {
        let mut bound = Vec::new();
        for (at, listener) in listeners.iter().enumerate() {
            if listeners[..at].iter().any(|other| other.name == listener.name) {
                let what = format!("two are called {}; each has a name of its own: NAME://HOST:PORT", listener.name);
                return Err(BrokerError::setting("listeners", what));
            }
            let address = listener.address();
            let mut socket = TcpListener::bind(&address).await;
            if let (Err(error), Some(other)) = (&socket, listener.address_without_ipv6())
                && error.kind() != io::ErrorKind::AddrInUse
            {
                socket = TcpListener::bind(&other).await;
            }
            let socket = socket.map_err(|source| BrokerError::Bind { listener: listener.to_string(), source })?;
            let local = socket.local_addr().map_err(BrokerError::io("ask for the address of", address.clone()))?;
            broker.shared.set_endpoint(&listener.name, listener.endpoint(local));
            bound.push((listener.name.clone(), local, socket));
        }
        let kib = |bytes: usize| (bytes / 1024).clamp(1, Semaphore::MAX_PERMITS);
        let state = Arc::new(State {
            shared: broker.shared.clone(),
            connections: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            // The largest request must fit, if it is alone.
            memory: Arc::new(Semaphore::new(kib(settings.request_memory_bytes.max(settings.max_request_bytes)))),
            turns: Semaphore::new(RESPONSES_IN_THE_MAKING),
            unread: Semaphore::new(kib(settings.response_memory_bytes)),
            sessions: Mutex::new(FetchSessions::behind(
                random_id().as_u128() as i32 & i32::MAX,
                settings.fetch_sessions,
            )),
            settings,
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut addresses = BTreeMap::new();
        for (name, local, socket) in bound {
            tasks.spawn(accept(state.clone(), name.as_str().into(), socket, stopped.clone()));
            addresses.insert(name, local);
        }
        Ok(Server { addresses, stop, listeners: tasks })
    }

    /// Where it listens, by the listeners' names.
    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }

    /// Takes no more connections, lets requests at work be answered, and closes.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.listeners.join_next().await.is_some() {}
    }
}

/// How long a listener rests when the system gives it no connection, as when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

async fn accept(state: Arc<State>, name: Arc<str>, socket: TcpListener, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                state.shared.complain("accept", |left_out| {
                    tracing::warn!(listener = &*name, %error, left_out, "a connection could not be taken");
                });
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(permit) = state.admit() else {
            state.shared.complain("max.connections", |left_out| {
                tracing::warn!(listener = &*name, %peer, left_out, "closed: there are max.connections already");
            });
            continue;
        };
        let reached = stream.local_addr().ok().map(|local| local.ip().to_canonical());
        let caller = Caller {
            principal: Principal::anonymous(),
            listener: Some(name.clone()),
            peer: Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())),
            reached,
        };
        let (state, stopped) = (state.clone(), stopped.clone());
        connections.spawn(async move {
            serve(&state, stream, caller, stopped).await;
            drop(permit);
        });
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}

async fn serve(state: &State, stream: TcpStream, caller: Caller, stopped: watch::Receiver<bool>) {
    let peer = caller.peer.map(tracing::field::display);
    if let Err(error) = connection::serve(state, stream, caller, stopped).await {
        state.shared.complain("closed", |left_out| {
            tracing::warn!(peer, %error, left_out, "a connection was closed");
        });
    }
}

impl Listener {
    fn endpoint(&self, local: SocketAddr) -> Endpoint {
        match &self.advertised {
            Some((host, port)) => Endpoint { host: host.clone(), port: *port },
            None if local.ip().is_unspecified() => Endpoint { host: String::new(), port: local.port() },
            None => Endpoint { host: self.host.clone(), port: local.port() },
        }
    }
}
