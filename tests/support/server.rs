//! Redis servers for tests: a private one per [`Server`], a shared one per test binary by [`server_url`].
//!
//! A private server comes from `COSTGUARD_TEST_SERVER` (a program), else `redis-server` or `valkey-server` on the PATH,
//! else Docker (the first of [`images`]). Nothing is ever skipped: where no server can be had, the test fails and says how
//! to get one.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};

/// The container images that tests use unless `COSTGUARD_TEST_IMAGES` names others. `scripts/test` reads the same file.
const IMAGES: &str = include_str!("../images.txt");

/// How long a server may take to answer its first command.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Said by what containers cannot do.
const NO_PROCESS: &str = "this test needs its server as a process: put redis-server on the PATH";

/// How many ports are tried: another process may take a free port before the server binds it.
const PORT_TRIES: usize = 5;

/// The URL of a server that all tests of this binary share.
///
/// `COSTGUARD_TEST_REDIS_URL` where it is set, used as it is; else a private server, started once. Use a key prefix of
/// your own, and never flush, fill or kill it: a test that does starts its own [`Server`].
pub fn server_url() -> String {
    static SHARED: OnceLock<Server> = OnceLock::new();
    match std::env::var("COSTGUARD_TEST_REDIS_URL") {
        Ok(url) if !url.is_empty() => url,
        _ => SHARED.get_or_init(Server::start).url(),
    }
}

/// A Redis server of the test's own, empty, without persistence. It ends with this value, or with the test process.
pub struct Server {
    addr: SocketAddr,
    home: Home,
}

enum Home {
    Process(Process),
    // `Option`, so that `drop` can move it to a thread.
    Container { container: Option<Box<Container<GenericImage>>>, _watchdog: Watchdog },
}

impl Server {
    /// Starts a server with default settings.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more options, as its command line takes them: `&["--maxmemory", "10mb"]`.
    pub fn start_with(options: &[&str]) -> Self {
        match server_program() {
            Some(program) => Self::start_process(&program, options),
            None => Self::start_container(options),
        }
    }

    /// Starts a replica of a server, which gets the data at once and not when others may want it too.
    pub fn start_replica_of(primary: SocketAddr) -> Self {
        let (host, port) = (primary.ip().to_string(), primary.port().to_string());
        Self::start_with(&["--replicaof", &host, &port, "--repl-diskless-sync-delay", "0"])
    }

    /// Starts a server at this address: one that was there before, or is expected there.
    ///
    /// # Panics
    /// When there is no server program on the PATH: a container's address is not ours to choose.
    pub fn start_at(addr: SocketAddr, options: &[&str]) -> Self {
        let program = server_program().expect("this test chooses its server's port: put redis-server on the PATH");
        let mut process = Process::spawn(&program, addr, options);
        if let Err(reason) = process.wait_until_ready(addr) {
            panic!("no server started at {addr}: {reason}\nits log:\n{}", process.log());
        }
        Self { addr, home: Home::Process(process) }
    }

    /// Starts a sentinel with these lines in its configuration, which it rewrites.
    pub fn start_sentinel(lines: &str) -> Self {
        let program = server_program().expect("sentinels run as processes: put redis-server on the PATH");
        let addr = free_addr();
        let dir = temporary_dir();
        let path = dir.path().join("sentinel.conf");
        let all = format!("bind {}\nport {}\nlogfile server.log\n{lines}\n", addr.ip(), addr.port());
        std::fs::write(&path, all).expect("a file in the temporary directory");
        let mut process = Process::run(&program, dir, &[path.to_string_lossy().as_ref(), "--sentinel"]);
        if let Err(reason) = process.wait_for(addr, "PING\r\n", "PONG") {
            panic!("no sentinel started at {addr}: {reason}\nits log:\n{}", process.log());
        }
        Self { addr, home: Home::Process(process) }
    }

    /// Starts this server program.
    pub fn start_process(program: &Path, options: &[&str]) -> Self {
        let mut failures = String::new();
        for _ in 0..PORT_TRIES {
            let addr = free_addr();
            let mut process = Process::spawn(program, addr, options);
            match process.wait_until_ready(addr) {
                Ok(()) => return Self { addr, home: Home::Process(process) },
                Err(reason) => failures = format!("{reason}\nits log:\n{}", process.log()),
            }
            // Wrong options fail on every port alike.
            if !failures.contains("Address already in use") {
                break;
            }
        }
        panic!("{} did not start with options {options:?}: {failures}", program.display());
    }

    fn start_container(options: &[&str]) -> Self {
        let image = images().into_iter().find(|image| image != "local").expect("COSTGUARD_TEST_IMAGES names an image");
        Self::start_image(&image, options)
    }

    /// Starts a server in a container of this image.
    pub fn start_image(name: &str, options: &[&str]) -> Self {
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (name, "latest"),
        };
        let program = if repository.contains("valkey") { "valkey-server" } else { "redis-server" };
        // Images other than the official ones refuse clients from outside the container by default.
        let settings = [program, "--save", "", "--appendonly", "no", "--protected-mode", "no"];
        let command: Vec<String> = settings.iter().chain(options).map(ToString::to_string).collect();
        let image = GenericImage::new(repository, tag)
            .with_exposed_port(6379.tcp())
            .with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"))
            .with_cmd(command);
        // The blocking runner brings its own runtime, which may not start inside a test's.
        let started = thread::spawn(move || {
            let container = image.start()?;
            let port = container.get_host_port_ipv4(6379.tcp())?;
            Ok::<_, testcontainers::TestcontainersError>((container, port))
        })
        .join()
        .expect("the thread that starts the container ends");
        let (container, port) = started.unwrap_or_else(|error| {
            panic!(
                "Docker could not run {name} ({error}). Without a redis-server or valkey-server on the PATH tests need it: \
                 run scripts/test, which installs one."
            )
        });
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let watchdog = Watchdog::start("docker rm --force --volumes \"$1\" >/dev/null 2>&1", &[container.id()]);
        Self { addr, home: Home::Container { container: Some(Box::new(container)), _watchdog: watchdog } }
    }

    /// `redis://127.0.0.1:<port>/0`.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.addr)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The id of the server's process.
    ///
    /// # Panics
    /// When the server runs in a container: such a test needs a server program on the PATH.
    pub fn pid(&self) -> u32 {
        match &self.home {
            Home::Process(process) => process.child.id(),
            Home::Container { .. } => panic!("{NO_PROCESS}"),
        }
    }

    /// Sends the process a signal: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Ends the process at once and without a word, as `kill -9` does. Its directory stays.
    pub fn kill(&mut self) {
        self.process().end();
    }

    /// Starts the server again after [`kill`](Self::kill): in the same place, with the same options and files.
    pub fn restart(&mut self) {
        let addr = self.addr;
        let process = self.process();
        process.run_again();
        if let Err(reason) = process.wait_until_ready(addr) {
            panic!("the server did not come back at {addr}: {reason}\nits log:\n{}", process.log());
        }
    }

    fn process(&mut self) -> &mut Process {
        match &mut self.home {
            Home::Process(process) => process,
            Home::Container { .. } => panic!("{NO_PROCESS}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Home::Container { container, .. } = &mut self.home {
            let container = container.take();
            // Like its start: the container's own runtime may not run inside a test's.
            let _ = thread::spawn(move || drop(container)).join();
        }
    }
}

/// A server program run as a child process.
struct Process {
    child: Child,
    watchdog: Watchdog,
    dir: TempDir,
    program: PathBuf,
    args: Vec<String>,
}

impl Process {
    fn spawn(program: &Path, addr: SocketAddr, options: &[&str]) -> Self {
        let dir = temporary_dir();
        let (ip, port, path) =
            (addr.ip().to_string(), addr.port().to_string(), dir.path().to_string_lossy().into_owned());
        let mut args = vec!["--bind", &ip, "--port", &port, "--dir", &path];
        args.extend(["--save", "", "--appendonly", "no", "--logfile", "server.log"]);
        args.extend(options);
        Self::run(program, dir, &args)
    }

    fn run(program: &Path, dir: TempDir, args: &[&str]) -> Self {
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (child, watchdog) = Self::start(program, &args, dir.path());
        Self { child, watchdog, dir, program: program.to_owned(), args }
    }

    fn start(program: &Path, args: &[String], dir: &Path) -> (Child, Watchdog) {
        let child = Command::new(program)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} could not be started: {error}", program.display()));
        let script = "kill -9 \"$1\"; rm -rf \"$2\"";
        let watchdog = Watchdog::start(script, &[&child.id().to_string(), &dir.to_string_lossy()]);
        (child, watchdog)
    }

    fn end(&mut self) {
        // The watchdog first: once the child is reaped, its id may belong to another process.
        self.watchdog.dismiss();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn run_again(&mut self) {
        (self.child, self.watchdog) = Self::start(&self.program, &self.args, self.dir.path());
    }

    fn wait_until_ready(&mut self, addr: SocketAddr) -> Result<(), String> {
        // Asking for its directory tells our server from another that may have taken the port.
        let dir = self.dir.path().canonicalize().expect("the temporary directory exists");
        self.wait_for(addr, "CONFIG GET dir\r\n", &dir.to_string_lossy())?;
        // That is answered while a server loads what it wrote before, and nothing else is.
        self.wait_for(addr, "PING\r\n", "PONG")
    }

    fn wait_for(&mut self, addr: SocketAddr, command: &str, expected: &str) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        let mut last = String::from("no answer");
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return Err(format!("it ended with {status}"));
            }
            match ask(addr, command, expected) {
                Ok(()) => return Ok(()),
                Err(reason) => last = reason,
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(format!("it did not answer within {START_LIMIT:?}: {last}"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A shell that cleans up when this process is gone.
///
/// A `static` is never dropped and a killed process drops nothing, but the pipe to the shell closes in every case.
struct Watchdog {
    shell: Child,
}

impl Watchdog {
    fn start(script: &str, args: &[&str]) -> Self {
        let shell = Command::new("sh")
            .args(["-c", &format!("trap '' INT TERM HUP; read -r _; {script}"), "watchdog"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        Self { shell }
    }

    fn dismiss(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.dismiss();
    }
}

/// The container images for tests, `local` for one made by `scripts/local-redis-image`. The first is used also where no
/// server program is at hand.
pub fn images() -> Vec<String> {
    let named = std::env::var("COSTGUARD_TEST_IMAGES").unwrap_or_default();
    let all = if images_are_default() { IMAGES } else { &named };
    all.split([',', '\n', ' ']).filter(|image| !image.is_empty()).map(str::to_owned).collect()
}

/// Whether nobody named images.
pub fn images_are_default() -> bool {
    std::env::var("COSTGUARD_TEST_IMAGES").unwrap_or_default().trim().is_empty()
}

/// The server program the tests use, if there is one.
///
/// # Panics
/// When `COSTGUARD_TEST_SERVER` names a program that does not exist: another one would not be what was asked for.
pub fn server_program() -> Option<PathBuf> {
    if let Some(wanted) = std::env::var_os("COSTGUARD_TEST_SERVER").filter(|name| !name.is_empty()) {
        let found = on_path(Path::new(&wanted));
        assert!(found.is_some(), "COSTGUARD_TEST_SERVER names {wanted:?}, which is not an existing program");
        return found;
    }
    ["redis-server", "valkey-server"].iter().find_map(|name| on_path(Path::new(name)))
}

fn on_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        // Made absolute, because the server is started in its own directory; links stay, for some programs go by their name.
        return std::path::absolute(program).ok().filter(|path| path.is_file());
    }
    let dirs = std::env::var_os("PATH")?;
    std::env::split_paths(&dirs).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Waits until servers have come to this among themselves.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn temporary_dir() -> TempDir {
    tempfile::Builder::new().prefix("costguard-redis-").tempdir().expect("a temporary directory")
}

/// An address on which nobody listens just now.
pub fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on 127.0.0.1");
    listener.local_addr().expect("a bound listener has an address")
}

/// Sends one inline command and waits until the answer holds `expected`.
fn ask(addr: SocketAddr, command: &str, expected: &str) -> Result<(), String> {
    let timeout = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&addr, timeout).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(timeout)).map_err(|error| error.to_string())?;
    stream.write_all(command.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    loop {
        let n = stream.read(&mut part).map_err(|error| error.to_string())?;
        answer.extend_from_slice(&part[..n]);
        let text = String::from_utf8_lossy(&answer);
        // A server that asks for a password is up as well.
        if text.contains(expected) || text.starts_with("-NOAUTH") {
            return Ok(());
        }
        if n == 0 || text.starts_with('-') {
            return Err(text.into_owned());
        }
    }
}
