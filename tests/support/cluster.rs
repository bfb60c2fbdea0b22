//! A cluster of three primaries, and a replica of the first.

use std::net::SocketAddr;

use super::Server;
use super::server::{free_addr, until};

/// The last slot of the first node and of the second.
const BORDERS: [u16; 2] = [5460, 10922];

/// A kind of message between nodes.
const PING: u8 = 0;

/// The nodes end with this value.
pub struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// Starts four nodes and waits until all agree on who holds what.
    pub fn start() -> Self {
        let nodes: Vec<_> = (0..4).map(|_| start_node()).collect();
        let cluster = Self { nodes };
        for (place, range) in [(0, [0, BORDERS[0]]), (1, [BORDERS[0] + 1, BORDERS[1]]), (2, [BORDERS[1] + 1, 16383])] {
            cluster.tell(place, &["CLUSTER", "ADDSLOTSRANGE", &range[0].to_string(), &range[1].to_string()]);
            cluster.tell(place, &["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]);
        }
        let first = bus(&cluster.nodes[0]);
        for place in 1..4 {
            let [ip, port, bus] = &first;
            cluster.tell(place, &["CLUSTER", "MEET", ip, port, bus]);
        }
        let id = cluster.id(0);
        until("the nodes know each other", || {
            (0..4).all(|place| cluster.ask(place, &["CLUSTER", "INFO"]).contains("cluster_known_nodes:4"))
        });
        until("the replica has a primary", || cluster.try_tell(3, &["CLUSTER", "REPLICATE", &id]));
        until("the nodes agree", || {
            (0..4).all(|place| {
                let info = cluster.ask(place, &["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_size:3")
            }) && cluster.ask(3, &["INFO", "REPLICATION"]).contains("master_link_status:up")
                && cluster.ask(0, &["CLUSTER", "NODES"]).contains("slave")
        });
        cluster
    }

    /// `redis+cluster://` with this node as the only one that is named.
    pub fn url(&self, place: usize) -> String {
        format!("redis+cluster://{}", self.nodes[place].addr())
    }

    /// Where a node listens: 0, 1 and 2 are primaries in the order of their slots, 3 is the replica of the first.
    pub fn addr(&self, place: usize) -> SocketAddr {
        self.nodes[place].addr()
    }

    /// The primary that held this slot at the start.
    pub fn holder_of(slot: u16) -> usize {
        BORDERS.iter().filter(|border| slot > **border).count()
    }

    /// A root on this primary, and its slot.
    pub fn root_on(&self, place: usize) -> (String, u16) {
        let of =
            |root: String| (Self::holder_of(self.slot_of(&root)) == place).then(|| (root.clone(), self.slot_of(&root)));
        (0..).find_map(|n| of(format!("root{n}"))).expect("there are many roots")
    }

    /// The slot of all keys of a root.
    pub fn slot_of(&self, root: &str) -> u16 {
        let mut command = redis::cmd("CLUSTER");
        command.arg("KEYSLOT").arg(format!("{{{root}}}")).query(&mut self.connection(1)).expect("the node answers")
    }

    /// Moves the slot of a root, with its keys, as an operator's tool does.
    pub fn move_slot_of(&self, root: &str, from: usize, to: usize) {
        let (slot, ids) = (self.slot_of(root).to_string(), [self.id(from), self.id(to)]);
        self.tell(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]);
        self.tell(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]);
        let port = self.nodes[to].addr().port().to_string();
        loop {
            let mut command = redis::cmd("CLUSTER");
            command.arg("GETKEYSINSLOT").arg(&slot).arg(100);
            let keys: Vec<String> = command.query(&mut self.connection(from)).expect("the node answers");
            if keys.is_empty() {
                break;
            }
            let mut command = redis::cmd("MIGRATE");
            command.arg("127.0.0.1").arg(&port).arg("").arg(0).arg(5_000).arg("KEYS").arg(keys);
            command.exec(&mut self.connection(from)).expect("the keys move");
        }
        for place in [to, from] {
            self.tell(place, &["CLUSTER", "SETSLOT", &slot, "NODE", &ids[1]]);
        }
    }

    /// After the first primary was killed: waits until its replica has taken over, by what every node knows.
    pub fn until_whole(&self) {
        let (last, replica) = (self.nodes.len() - 1, self.id(self.nodes.len() - 1));
        until("the replica takes over", || {
            (0..=last).all(|place| {
                let nodes = self.ask(place, &["CLUSTER", "NODES"]);
                let is_primary = nodes.lines().any(|line| line.starts_with(&replica) && line.contains("master"));
                is_primary && self.ask(place, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
            })
        });
    }

    /// Cuts a node off from the others: it forgets them and drops their pings. Else it would answer with whom it forgot, and
    /// they would forget one another too (Redis 7.2, Valkey).
    pub fn cut_off(&self, place: usize) {
        let mut command = redis::pipe();
        command.atomic().cmd("DEBUG").arg("DROP-CLUSTER-PACKET-FILTER").arg(PING);
        for other in (0..self.nodes.len()).filter(|other| *other != place) {
            command.cmd("CLUSTER").arg("FORGET").arg(self.id(other));
        }
        command.exec(&mut self.connection(place)).expect("the node obeys");
    }

    /// The name of a node.
    pub fn id(&self, place: usize) -> String {
        self.ask(place, &["CLUSTER", "MYID"])
    }

    /// Ends a node at once and without a word.
    pub fn kill(&mut self, place: usize) {
        self.nodes.remove(place);
    }

    /// Runs a command on a node and gives its answer.
    pub fn ask(&self, place: usize, command: &[&str]) -> String {
        redis::cmd(command[0]).arg(&command[1..]).query(&mut self.connection(place)).expect("the node answers")
    }

    /// Runs a command on a node.
    pub fn tell(&self, place: usize, command: &[&str]) {
        redis::cmd(command[0]).arg(&command[1..]).exec(&mut self.connection(place)).expect("the node obeys");
    }

    fn try_tell(&self, place: usize, command: &[&str]) -> bool {
        redis::cmd(command[0]).arg(&command[1..]).exec(&mut self.connection(place)).is_ok()
    }

    fn connection(&self, place: usize) -> redis::Connection {
        redis::Client::open(self.nodes[place].url()).expect("a URL").get_connection().expect("the node answers")
    }
}

fn start_node() -> Server {
    // The default port of the bus lies 10,000 above, where there may be no port.
    let bus = free_addr().port().to_string();
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
    Server::start_with(&[&options[..], &["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"]].concat())
}

/// Where a node is met: address, port, port of its bus.
fn bus(node: &Server) -> [String; 3] {
    let mut connection = redis::Client::open(node.url()).expect("a URL").get_connection().expect("the node answers");
    let (_, bus): (String, String) =
        redis::cmd("CONFIG").arg("GET").arg("cluster-port").query(&mut connection).expect("the node has a bus");
    [node.addr().ip().to_string(), node.addr().port().to_string(), bus]
}
