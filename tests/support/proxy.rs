//! A TCP proxy in front of a Redis server that fails on demand, at the points where clients get it wrong.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What goes wrong with a request. Unless its reply is only held the client sees its connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server never sees the request.
    DropRequest,
    /// The server runs the request; its reply is lost.
    LoseReply,
    /// The server runs the request; its reply waits, as everything does, until [`Proxy::resume`].
    HoldReply,
}

/// A proxy on a port of its own. It ends, with all its connections, when it is dropped.
pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    /// The next fault and the bytes its request holds; `None` means any script call.
    armed: Mutex<Option<(Fault, Option<Vec<u8>>)>>,
    stalled: watch::Sender<bool>,
    /// While it is cut nobody is let in; each cut is a new number, by which connections know that they are closed.
    cut: watch::Sender<(bool, u64)>,
    /// How often what was open was stranded.
    stranded: AtomicUsize,
    requests: AtomicUsize,
    script_calls: AtomicUsize,
    faults: AtomicUsize,
}

impl Proxy {
    /// Starts a proxy in front of the server at this URL: `redis://[user:password@]host:port[/db]`.
    pub async fn start(upstream_url: &str) -> Self {
        let (before, upstream, after) = split_url(upstream_url);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on 127.0.0.1");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            armed: Mutex::new(None),
            stalled: watch::Sender::new(false),
            cut: watch::Sender::new((false, 0)),
            stranded: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            script_calls: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept(listener, upstream.to_owned(), Arc::clone(&shared)));
        Self { url: format!("{before}{addr}{after}"), shared, accepting }
    }

    /// The URL to give to the client under test.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Closes the connection when the next script call arrives; the server does not see it.
    pub fn drop_next_request(&self) {
        self.arm(Fault::DropRequest, None);
    }

    /// Lets the next script call run, then loses its reply and closes the connection.
    ///
    /// A call answered with `NOSCRIPT` has not run: the fault stays armed for the one that does.
    pub fn lose_next_reply(&self) {
        self.arm(Fault::LoseReply, None);
    }

    /// The same for the next request that holds these bytes, whatever its command: `b"INCRBY"`, a key, an id.
    pub fn fail_next(&self, fault: Fault, needle: &[u8]) {
        self.arm(fault, Some(needle.to_vec()));
    }

    /// Holds back everything in both directions until [`resume`](Self::resume). Connections stay open.
    pub fn stall(&self) {
        self.shared.stalled.send_replace(true);
    }

    /// Lets go what [`stall`](Self::stall) held back.
    pub fn resume(&self) {
        self.shared.stalled.send_replace(false);
    }

    /// Passes nothing more on connections that are open now, and does not close them; new ones work.
    pub fn strand(&self) {
        self.shared.stranded.fetch_add(1, Ordering::SeqCst);
    }

    /// Closes every connection and every new one at once, until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.shared.cut.send_modify(|(is_cut, number)| (*is_cut, *number) = (true, *number + 1));
    }

    /// Lets clients in again.
    pub fn mend(&self) {
        self.shared.cut.send_modify(|(is_cut, _)| *is_cut = false);
    }

    /// How many requests have arrived, dropped ones and those of connection set-up included.
    pub fn requests_seen(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many script calls have arrived, dropped ones included.
    pub fn script_calls_seen(&self) -> usize {
        self.shared.script_calls.load(Ordering::SeqCst)
    }

    /// How many faults have struck: a test that armed one checks that it did.
    pub fn faults_struck(&self) -> usize {
        self.shared.faults.load(Ordering::SeqCst)
    }

    fn arm(&self, fault: Fault, needle: Option<Vec<u8>>) {
        *self.shared.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((fault, needle));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Dropping the task drops its `JoinSet`, which ends every connection.
        self.accepting.abort();
    }
}

impl Shared {
    /// Counts a request and takes the armed fault if it is meant for this one.
    fn meet(&self, request: &[u8]) -> Option<(Fault, Option<Vec<u8>>)> {
        let is_script = is_script_call(request);
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.script_calls.fetch_add(usize::from(is_script), Ordering::SeqCst);
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).take_if(|(_, needle)| match needle {
            Some(needle) => holds(request, needle),
            None => is_script,
        })
    }

    /// Waits until something may pass on a connection that was made after so many strandings.
    async fn flowing(&self, strandings: usize) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.stalled.subscribe().wait_for(|stalled| !stalled).await;
        if self.stranded.load(Ordering::SeqCst) != strandings {
            std::future::pending().await
        }
    }
}

async fn accept(listener: TcpListener, upstream: String, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (is_cut, cuts) = *shared.cut.borrow();
        if is_cut {
            continue;
        }
        connections.spawn(connect(client, upstream.clone(), Arc::clone(&shared), cuts));
        while connections.try_join_next().is_some() {}
    }
}

/// What is to happen to a reply: nothing, or loss; with the needle, to arm it again where the call did not run.
type Fates = Mutex<VecDeque<Option<Option<Vec<u8>>>>>;

/// Serves one client until either side ends or a fault strikes; both connections close then. A cut that comes while it is let in,
/// after so many, closes it as well.
async fn connect(client: TcpStream, upstream: String, shared: Arc<Shared>, cuts: u64) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (fates, strandings) = (Fates::default(), shared.stranded.load(Ordering::SeqCst));
    let mut cut = shared.cut.subscribe();
    tokio::select! {
        _ = cut.wait_for(|(_, latest)| *latest != cuts) => Ok(()),
        ended = pass_requests(from_client, to_server, &fates, &shared, strandings) => ended,
        ended = pass_replies(from_server, to_client, &fates, &shared, strandings) => ended,
    }
}

async fn pass_requests(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fates: &Fates,
    shared: &Shared,
    strandings: usize,
) -> io::Result<()> {
    let mut frames = Frames::new(from);
    while let Some(request) = frames.next().await? {
        shared.flowing(strandings).await;
        let fate = match shared.meet(&request) {
            Some((Fault::DropRequest, _)) => {
                shared.faults.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            Some((Fault::LoseReply, needle)) => Some(needle),
            Some((Fault::HoldReply, _)) => {
                shared.stalled.send_replace(true);
                to.write_all(&request).await?;
                fates.lock().unwrap_or_else(PoisonError::into_inner).push_back(None);
                shared.faults.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            None => None,
        };
        fates.lock().unwrap_or_else(PoisonError::into_inner).push_back(fate);
        to.write_all(&request).await?;
    }
    Ok(())
}

async fn pass_replies(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fates: &Fates,
    shared: &Shared,
    strandings: usize,
) -> io::Result<()> {
    let mut frames = Frames::new(from);
    while let Some(reply) = frames.next().await? {
        shared.flowing(strandings).await;
        // RESP3 pushes answer no request.
        let answers = !reply.starts_with(b">");
        let fate =
            answers.then(|| fates.lock().unwrap_or_else(PoisonError::into_inner).pop_front()).flatten().flatten();
        if let Some(needle) = fate {
            if !reply.starts_with(b"-NOSCRIPT") {
                shared.faults.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            *shared.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((Fault::LoseReply, needle));
        }
        to.write_all(&reply).await?;
    }
    Ok(())
}

/// Cuts a stream into RESP values.
struct Frames<R> {
    from: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    fn new(from: R) -> Self {
        Self { from, buffer: Vec::new() }
    }

    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(len) = frame_len(&self.buffer)? {
                return Ok(Some(self.buffer.drain(..len).collect()));
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// The length of the first whole RESP2 or RESP3 value, if it is all there.
pub fn frame_len(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0;
    let mut values_left = 1_usize;
    while values_left > 0 {
        let Some(line_len) = bytes[at..].windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
        let line = &bytes[at..at + line_len];
        at += line_len + 2;
        values_left -= 1;
        match line.first() {
            Some(b'$' | b'=' | b'!') => at += declared_len(line)?.map_or(0, |len| len + 2),
            Some(b'*' | b'~' | b'>') => values_left += declared_len(line)?.unwrap_or(0),
            Some(b'%') => values_left += 2 * declared_len(line)?.unwrap_or(0),
            // Attributes come before the value they describe.
            Some(b'|') => values_left += 2 * declared_len(line)?.unwrap_or(0) + 1,
            Some(b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(') => {}
            _ => return Err(not_resp(line)),
        }
        if at > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

/// The number after the type byte; `None` for the -1 of a null.
fn declared_len(line: &[u8]) -> io::Result<Option<usize>> {
    let text = std::str::from_utf8(&line[1..]).map_err(|_| not_resp(line))?;
    if text == "-1" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| not_resp(line))
}

fn not_resp(line: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a RESP value: {:?}", String::from_utf8_lossy(line)))
}

/// Whether a request is EVAL, EVALSHA or one of their read-only forms.
pub fn is_script_call(request: &[u8]) -> bool {
    let command = request.split(|byte| *byte == b'\n').nth(2).unwrap_or_default().trim_ascii_end();
    [&b"EVAL"[..], b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO"].iter().any(|name| command.eq_ignore_ascii_case(name))
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len().max(1)).any(|part| part == needle)
}

/// What stands before host and port, host and port, and what stands after.
pub fn split_url(url: &str) -> (&str, &str, &str) {
    let authority_at = url.find("://").map(|at| at + 3).expect("a redis:// URL");
    let authority_len = url[authority_at..].find(['/', '?']).unwrap_or(url.len() - authority_at);
    let authority_end = authority_at + authority_len;
    let host_at = url[authority_at..authority_end].rfind('@').map_or(authority_at, |at| authority_at + at + 1);
    (&url[..host_at], &url[host_at..authority_end], &url[authority_end..])
}
