//! One connection: requests are read, answered and written one after the other, so that responses keep the order of requests.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use tidewater_log::Extent;
use tidewater_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use tidewater_protocol::messages::{FetchResponse, ProduceResponse};
use tidewater_protocol::{
    ApiKey, Caller, FrameError, LENGTH_BYTES, Part, Request, RequestContext, RequestHead, Response, StrBytes,
    read_request, write_fetch_response, write_response,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{SMALL_RESPONSE_BYTES, State, fetch};
use crate::{api, dispatch};

/// Bytes that are read at once while no larger request is on its way.
const READ_BYTES: usize = 16 << 10;
/// Room that is made for a large request at once; more as it fills.
const GROW_BYTES: usize = 1 << 20;
/// Requests of this size and less are not counted against the memory of all.
const SMALL_REQUEST_BYTES: usize = 64 << 10;
/// Of a large request or response, so much must come or go in such a time while others wait for memory.
const PROGRESS_BYTES: usize = 256 << 10;
const PROGRESS_TIME: Duration = Duration::from_secs(5);

/// How long a client has to read its response once the server stops.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);

/// Why a connection was closed before the client did it.
#[derive(Debug, Error)]
pub(super) enum Closed {
    #[error("a request claims {length} bytes; at most {limit} are taken")]
    TooLarge { length: i64, limit: usize },
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a request of {length} bytes comes so slowly that others wait for the memory that it holds")]
    Slow { length: usize },
    #[error("a response is read so slowly that others wait for the memory that it holds; {left} bytes were left")]
    Unread { left: usize },
    /// Which is no fault.
    #[error("nothing came or went for too long")]
    Idle,
    #[error("a request with acks=0 failed, which cannot be told")]
    Unacknowledged,
    #[error("another request took the place of one that waited")]
    Replaced,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The turn that a response was made in, until it is counted.
type Turn<'a> = Option<SemaphorePermit<'a>>;

/// Requests that come in, as frames.
struct Incoming {
    stream: TcpStream,
    buffer: BytesMut,
}

/// A frame, and its share of the memory of all.
struct Frame {
    bytes: Bytes,
    memory: Option<OwnedSemaphorePermit>,
}

/// Serves a connection until the client closes it, it is idle for too long, or the server stops.
pub(super) async fn serve(
    state: &State,
    stream: TcpStream,
    caller: Caller,
    stopped: watch::Receiver<bool>,
) -> Result<(), Closed> {
    match serve_requests(state, stream, caller, stopped).await {
        Err(Closed::Idle) => Ok(()),
        // A client that goes away need not say so, nor read what it has asked for.
        Err(Closed::Io(error))
            if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
        {
            Ok(())
        }
        other => other,
    }
}

async fn serve_requests(
    state: &State,
    stream: TcpStream,
    caller: Caller,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Closed> {
    stream.set_nodelay(true)?;
    let caller = Arc::new(caller);
    let mut incoming = Incoming { stream, buffer: BytesMut::new() };
    loop {
        let frame = tokio::select! {
            frame = incoming.next(state) => frame?,
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        };
        let Some(frame) = frame else { return Ok(()) };
        let (parts, turn) = match read_request(frame.bytes.clone()) {
            Ok((mut head, request)) => {
                // Of its own, so that it does not keep the frame of one who waits.
                let client_id = head.client_id.take().map(|id| StrBytes::from_string(id.to_string()));
                let context = RequestContext { version: head.version, caller: caller.clone(), client_id };
                tokio::select! {
                    biased;
                    made = answer(state, &context, &head, request, frame, &mut stopped) => made?,
                    () = gone(&incoming.stream) => return Ok(()),
                    () = sleep(state.settings.max_idle) => return Ok(()),
                }
            }
            // So that a client of a later version can fall back.
            Err(FrameError::UnknownVersion { key: ApiKey::ApiVersions, correlation, .. }) => {
                let head = RequestHead { key: ApiKey::ApiVersions, version: 0, correlation, client_id: None };
                let response = Response::ApiVersions(api::api_versions::unsupported());
                (whole(write_response(&head, &response)?), None)
            }
            Err(error) => return Err(error.into()),
        };
        tokio::select! {
            // Most are written at once.
            biased;
            written = incoming.write(state, parts, turn) => written?,
            () = overdue(&mut stopped) => return Ok(()),
        }
    }
}

/// Waits until the server stops, and then for as long as a client has to read its response.
async fn overdue(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await; // An error is a stop, too.
    sleep(LAST_WORDS_TIME).await;
}

/// Waits until the client has closed the connection, unless it has sent something before, which is not read yet.
async fn gone(stream: &TcpStream) {
    match stream.peek(&mut [0]).await {
        Ok(0) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}

fn whole(response: BytesMut) -> Vec<Part<Extent>> {
    vec![Part::Bytes(response.freeze())]
}

/// The response to a request; nothing for one that wants none. The request's frame is let go before
/// anybody waits, but for a turn to make what may be large.
async fn answer<'a>(
    state: &'a State,
    context: &RequestContext,
    head: &RequestHead,
    request: Request,
    frame: Frame,
    stopped: &mut watch::Receiver<bool>,
) -> Result<(Vec<Part<Extent>>, Turn<'a>), Closed> {
    match request {
        Request::Fetch(request) => {
            let wanted = fetch::detached(&request);
            let Frame { bytes, mut memory } = frame;
            drop((request, bytes));
            let found = fetch::answer(state, context, wanted, &mut memory, stopped).await;
            let turn = state.turn_for(header_bytes(&found.response)).await;
            Ok((write_fetch_response(head, found.response, found.bodies)?, turn))
        }
        Request::Produce(request) if request.acks == 0 => {
            let response = api::produce::handle(&state.shared, context, request);
            if has_error(&response) { Err(Closed::Unacknowledged) } else { Ok((Vec::new(), None)) }
        }
        Request::JoinGroup(request) => {
            let waiting = api::join_group::begin(&state.shared, context, &request);
            drop((request, frame));
            let joined = tokio::select! {
                joined = waiting => joined.ok(),
                _ = stopped.wait_for(|stop| *stop) => return Ok((Vec::new(), None)),
            };
            let joined = api::join_group::finish(context, joined.ok_or(Closed::Replaced)?);
            let turn = state.turn_for(joined.members.iter().map(|member| member.metadata.len()).sum()).await;
            Ok((whole(write_response(head, &Response::JoinGroup(joined))?), turn))
        }
        Request::SyncGroup(request) => {
            let waiting = api::sync_group::begin(&state.shared, context, &request);
            drop((request, frame));
            let synced = tokio::select! {
                synced = waiting => synced.ok(),
                _ = stopped.wait_for(|stop| *stop) => return Ok((Vec::new(), None)),
            };
            let synced = synced.ok_or(Closed::Replaced)?;
            let turn = state.turn_for(synced.assignment.len()).await;
            Ok((whole(write_response(head, &Response::SyncGroup(synced))?), turn))
        }
        request => {
            let turn = match response_bytes(&request, frame.bytes.len()) {
                Some(length) => state.turn_for(length).await,
                None => state.turn().await,
            };
            let unknown = || FrameError::UnknownKey { key: head.key as i16 };
            let response = dispatch(&state.shared, context, request).ok_or_else(unknown)?;
            let written = write_response(head, &response)?;
            // It may be larger than was thought.
            drop((response, frame));
            let turn = match turn {
                None => state.turn_for(written.len()).await,
                turn => turn,
            };
            Ok((whole(written), turn))
        }
    }
}

/// What a response takes for all but its records: its topics with their partitions, and the aborted transactions of each, by producer and
/// first offset.
fn header_bytes(response: &FetchResponse) -> usize {
    let of_partition =
        |partition: &PartitionData| 64 + 16 * partition.aborted_transactions.as_ref().map_or(0, Vec::len);
    let of_topic =
        |topic: &FetchableTopicResponse| topic.topic.len() + topic.partitions.iter().map(of_partition).sum::<usize>();
    response.responses.iter().map(of_topic).sum()
}

/// What the response takes at most to a request of so many bytes, of those that keep records flowing and members in their groups: if that
/// is little, it does not wait for those who do not read. Nothing of others, whose responses may be large whatever is asked.
fn response_bytes(request: &Request, length: usize) -> Option<usize> {
    /// What one partition, or one key, is told: offsets, an address or a message.
    const EACH_BYTES: usize = 128;
    match request {
        Request::Produce(request) => {
            let topics = request.topic_data.iter();
            Some(topics.map(|topic| topic.name.len() + EACH_BYTES * topic.partition_data.len()).sum())
        }
        Request::FindCoordinator(request) => Some(EACH_BYTES * request.coordinator_keys.len() + length),
        Request::ApiVersions(_) => Some(0),
        Request::AddOffsetsToTxn(_)
        | Request::AddPartitionsToTxn(_)
        | Request::ConsumerGroupHeartbeat(_)
        | Request::EndTxn(_)
        | Request::Heartbeat(_)
        | Request::InitProducerId(_)
        | Request::LeaveGroup(_)
        | Request::OffsetCommit(_)
        | Request::StreamsGroupHeartbeat(_)
        | Request::TxnOffsetCommit(_) => Some(2 * length),
        _ => None,
    }
}

fn has_error(response: &ProduceResponse) -> bool {
    response.responses.iter().flat_map(|topic| &topic.partition_responses).any(|partition| partition.error_code != 0)
}

impl Incoming {
    /// The next frame, without its length; `None` when the client has closed.
    async fn next(&mut self, state: &State) -> Result<Option<Frame>, Closed> {
        let idle = state.settings.max_idle;
        while self.buffer.len() < LENGTH_BYTES {
            if self.buffer.is_empty() {
                // A connection that waits holds no memory.
                self.buffer = BytesMut::new();
                timeout(idle, self.stream.readable()).await.map_err(|_| Closed::Idle)??;
            }
            self.buffer.reserve(READ_BYTES);
            if timeout(idle, self.read(usize::MAX)).await.map_err(|_| Closed::Idle)?? == 0 {
                return Ok(None);
            }
        }
        let claimed = i32::from_be_bytes([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]]);
        let limit = state.settings.max_request_bytes;
        let length = usize::try_from(claimed).ok().filter(|length| *length <= limit);
        let length = length.ok_or(Closed::TooLarge { length: claimed.into(), limit })?;
        let end = LENGTH_BYTES + length;
        let mut memory: Option<OwnedSemaphorePermit> = None;
        let mut progress = Progress::of(self.buffer.len(), idle);
        let mut progress_is_due = pin!(sleep(progress.time));
        while self.buffer.len() < end {
            let missing = end - self.buffer.len();
            tokio::select! {
                read = self.read_more(state, length, missing, &mut memory) => if read? == 0 {
                    return Ok(None);
                },
                () = &mut progress_is_due => {
                    let more = progress.since(self.buffer.len())?;
                    if memory.is_some() && more < progress.least() && state.memory_is_short() {
                        return Err(Closed::Slow { length });
                    }
                    progress_is_due.as_mut().reset(Instant::now() + progress.time);
                }
            }
        }
        let mut frame = self.buffer.split_to(end).freeze();
        let bytes = frame.split_off(LENGTH_BYTES);
        Ok(Some(Frame { bytes, memory }))
    }

    /// Reads more of a request, and takes memory for as much as may come, not for what is claimed. Nothing is lost if it is not waited for.
    async fn read_more(
        &mut self,
        state: &State,
        length: usize,
        missing: usize,
        memory: &mut Option<OwnedSemaphorePermit>,
    ) -> io::Result<usize> {
        if self.buffer.capacity() == self.buffer.len() {
            let grow = missing.min(GROW_BYTES.max(self.buffer.len()));
            if length > SMALL_REQUEST_BYTES {
                let kib = u32::try_from(grow / 1024).unwrap_or(u32::MAX).max(1);
                let share = state.memory.clone().acquire_many_owned(kib).await.map_err(io::Error::other)?;
                match memory {
                    Some(memory) => memory.merge(share),
                    None => *memory = Some(share),
                }
            }
            self.buffer.reserve(grow);
        }
        // What follows a large request does not keep its room.
        let most = if length > SMALL_REQUEST_BYTES { missing } else { usize::MAX };
        self.read(most).await
    }

    async fn read(&mut self, most: usize) -> io::Result<usize> {
        match self.stream.read_buf(&mut (&mut self.buffer).limit(most)).await {
            // A client that goes away need not say so.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
            other => other,
        }
    }

    async fn write(&mut self, state: &State, parts: Vec<Part<Extent>>, mut turn: Turn<'_>) -> Result<(), Closed> {
        for part in parts {
            match part {
                Part::Bytes(bytes) if bytes.len() > SMALL_RESPONSE_BYTES => {
                    self.write_large(state, bytes, turn.take()).await?;
                }
                Part::Bytes(bytes) => {
                    turn = None;
                    let written = timeout(state.settings.max_idle, self.stream.write_all(&bytes)).await;
                    written.map_err(|_| Closed::Idle)??;
                }
                Part::Body(extent) => send(&self.stream, &extent, state.settings.max_idle).await?,
            }
        }
        Ok(())
    }

    /// Writes what is counted against the memory of all until it is written.
    async fn write_large(&mut self, state: &State, mut bytes: Bytes, turn: Turn<'_>) -> Result<(), Closed> {
        let _memory = state.count_response(bytes.len()).await;
        drop(turn);
        let length = bytes.len();
        let mut progress = Progress::of(0, state.settings.max_idle);
        let mut progress_is_due = pin!(sleep(progress.time));
        while !bytes.is_empty() {
            tokio::select! {
                biased;
                written = self.stream.write_buf(&mut bytes) => {
                    written?;
                }
                () = &mut progress_is_due => {
                    let more = progress.since(length - bytes.len())?;
                    if more < progress.least() && state.others_wait_for_room() {
                        return Err(Closed::Unread { left: bytes.len() });
                    }
                    progress_is_due.as_mut().reset(Instant::now() + progress.time);
                }
            }
        }
        Ok(())
    }
}

/// How what comes or goes in parts gets on. It is looked at every `time`.
struct Progress {
    time: Duration,
    had: usize,
    /// How long nothing came or went.
    idle: Duration,
    max_idle: Duration,
}

impl Progress {
    fn of(had: usize, max_idle: Duration) -> Self {
        Progress { time: PROGRESS_TIME.min(max_idle), had, idle: Duration::ZERO, max_idle }
    }

    /// How much should come or go in that time.
    fn least(&self) -> usize {
        (PROGRESS_BYTES as f64 * self.time.as_secs_f64() / PROGRESS_TIME.as_secs_f64()) as usize
    }

    /// How much there is more than the last time.
    fn since(&mut self, has: usize) -> Result<usize, Closed> {
        let more = has - std::mem::replace(&mut self.had, has);
        self.idle = if more == 0 { self.idle + self.time } else { Duration::ZERO };
        if self.idle >= self.max_idle { Err(Closed::Idle) } else { Ok(more) }
    }
}

/// Sends records from their file.
async fn send(stream: &TcpStream, extent: &Extent, max_idle: Duration) -> Result<(), Closed> {
    let mut sent = 0;
    while sent < extent.length() {
        let more = timeout(max_idle, stream.async_io(Interest::WRITABLE, || extent.send(stream, sent))).await;
        match more.map_err(|_| Closed::Idle)?? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            more => sent += more,
        }
    }
    Ok(())
}
