//! A primary, two replicas, and three sentinels that watch over them.

use super::Server;
use super::server::until;

/// They end with this value.
pub struct Sentinels {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Sentinels {
    /// Starts them all and waits until the sentinels know each other and the replicas.
    pub fn start() -> Self {
        let primary = Server::start();
        let port = primary.addr().port().to_string();
        let mut servers = vec![primary];
        for _ in 0..2 {
            servers.push(Server::start_replica_of(servers[0].addr()));
        }
        for server in &servers {
            until("the replicas follow", || {
                info(server, "REPLICATION").contains("master_link_status:up") || server.addr() == servers[0].addr()
            });
        }
        let lines = format!(
            "sentinel monitor main 127.0.0.1 {port} 2\nsentinel down-after-milliseconds main 1000\n\
             sentinel failover-timeout main 10000"
        );
        let sentinels: Vec<_> = (0..3).map(|_| Server::start_sentinel(&lines)).collect();
        for sentinel in &sentinels {
            until("the sentinels know each other", || info(sentinel, "SENTINEL").contains("slaves=2,sentinels=3"));
        }
        Self { servers, sentinels }
    }

    /// `redis+sentinel://…/main/0`.
    pub fn url(&self) -> String {
        let addrs: Vec<_> = self.sentinels.iter().map(|sentinel| sentinel.addr().to_string()).collect();
        format!("redis+sentinel://{}/main/0", addrs.join(","))
    }

    /// The addresses of the sentinels.
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// Ends the primary at once and without a word, and gives its address.
    pub fn kill_primary(&mut self) -> std::net::SocketAddr {
        self.servers.remove(0).addr()
    }

    /// Asks for a failover to a replica and waits until the old primary follows the new one.
    pub fn demote_primary(&self) {
        let old = &self.servers[0];
        let mut sentinel = connected(&self.sentinels[0]);
        until("the failover begins", || redis::cmd("SENTINEL").arg("FAILOVER").arg("main").exec(&mut sentinel).is_ok());
        until("the old primary follows", || info(old, "REPLICATION").contains("master_link_status:up"));
    }

    /// The server that is the primary, once the sentinels agree on one and it says so itself.
    pub fn primary(&self) -> &Server {
        let mut found = None;
        until("the sentinels agree on a primary", || {
            let named: Vec<_> = self.sentinels.iter().map(named_by).collect();
            found = self.servers.iter().find(|server| {
                let port = Some(server.addr().port());
                named.iter().all(|named| *named == port) && info(server, "REPLICATION").contains("role:master")
            });
            found.is_some()
        });
        found.expect("just found")
    }

    /// Waits for the primary, and lets nobody else be promoted from here on: a machine that is busy for a second is no fault.
    pub fn settle(&self) {
        self.primary();
        for sentinel in &self.sentinels {
            let patient = ["SET", "main", "down-after-milliseconds", "600000"];
            redis::cmd("SENTINEL").arg(&patient).exec(&mut connected(sentinel)).expect("a sentinel takes settings");
        }
    }
}

fn connected(server: &Server) -> redis::Connection {
    redis::Client::open(server.url()).expect("a URL").get_connection().expect("it answers")
}

/// The port of the primary that this sentinel names.
fn named_by(sentinel: &Server) -> Option<u16> {
    let mut connection = redis::Client::open(sentinel.url()).ok()?.get_connection().ok()?;
    let mut command = redis::cmd("SENTINEL");
    let (_, port): (String, u16) = command.arg("GET-MASTER-ADDR-BY-NAME").arg("main").query(&mut connection).ok()?;
    Some(port)
}

fn info(server: &Server, section: &str) -> String {
    let Ok(mut connection) = redis::Client::open(server.url()).expect("a URL").get_connection() else {
        return String::new();
    };
    redis::cmd("INFO").arg(section).query(&mut connection).unwrap_or_default()
}
