//! `costguard doctor`: what is wrong with a server, and what to do about it.

use std::any::Any;
use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use costguard::CostGuard;
use costguard::script::COMMANDS;
use costguard::service::{Health, HealthStatus, ServerKind};
use costguard::store::redis::{MultiplexedConnection, RedisConfig, RedisStore};
use indexmap::IndexMap;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, cmd};
use serde::Serialize;

use super::output::{print, print_json};
use super::target::ServerArgs;

/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long and how far the search for keys without a TTL goes.
const SCAN_LIMIT: Duration = Duration::from_secs(3);
const SCAN_KEYS: usize = 100_000;
/// How many keys one SCAN looks at.
const SCAN_COUNT: usize = 1000;
/// From here on a clock is worth a word: the server's decides, but people compare it with logs.
const CLOCK_LIMIT: Duration = Duration::from_secs(1);
/// From here on the way to the server is what a decision costs.
const LATENCY_LIMIT: Duration = Duration::from_millis(5);
const PINGS: usize = 9;

/// What helps where a server refuses whoever connects.
const MEND_LOGIN: &str =
    "it runs: mend the user, the password, the database or the rights, in the URL, the environment or the server";

/// Names the commands of ARGV that this user may not use on the key ARGV[1].
const DENIED: &str = "local denied = {} \
    for i = 2, #ARGV do if not redis.acl_check_cmd(ARGV[i], ARGV[1]) then denied[#denied + 1] = ARGV[i] end end \
    return denied";

/// Look for what is wrong with a server, and say what to do; changes nothing
///
/// Checks version, rights, eviction, persistence, clock, latency, and keys without a TTL; of a cluster on every primary.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// What every key begins with, as the service that counts has set it [default: $REDIS_KEY_PREFIX]
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  there are warnings
  2  there are problems
  3  an error: an option or a variable cannot be read, none names a server, or the answer cannot be printed";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// It could not be checked, or is good to know.
    Note,
    Warning,
    Problem,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Serialize)]
struct Report {
    store: String,
    acl_rule: String,
    findings: Vec<Finding>,
}

struct Server<'a> {
    guard: &'a CostGuard,
    config: &'a RedisConfig,
    connection: MultiplexedConnection,
    info: Option<HashMap<String, String>>,
}

pub(crate) async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut config = args.server.config()?.lazy(true);
    if let Some(prefix) = &args.prefix {
        config = config.key_prefix(prefix);
    }
    let guard = CostGuard::builder().connect_with(&config).await?;
    let findings = examine(&guard, &config).await?;
    let worst = findings.iter().map(|finding| finding.level).max();
    let report = Report { store: guard.store().describe(), acl_rule: config.acl_rule(&guard.key_pattern()), findings };
    if args.json {
        print_json(&report)?;
    } else {
        print(&report.to_text())?;
    }
    Ok(match worst {
        Some(Level::Problem) => ExitCode::from(2),
        Some(Level::Warning) => ExitCode::from(1),
        _ => ExitCode::SUCCESS,
    })
}

async fn examine(guard: &CostGuard, config: &RedisConfig) -> anyhow::Result<Vec<Finding>> {
    let health = guard.health().await;
    let mut findings = vec![connection(&health)];
    if health.status == HealthStatus::Disconnected {
        return Ok(findings);
    }
    findings.push(version(&health));
    let store: &dyn Any = &**guard.store();
    let store = store.downcast_ref::<RedisStore>().context("only a server can be examined")?;
    let server = |connection| Server { guard, config, connection, info: None };
    match store.raw_all().await {
        Ok(servers) => {
            let mut of_servers = Vec::new();
            for (address, connection) in servers {
                of_servers.push((address, server(connection).examine().await));
            }
            findings.extend(together(of_servers));
        }
        Err(err) => {
            let reason = err.to_string();
            let advice = if is_refusal(&reason) { MEND_LOGIN } else { "start the servers that are down" };
            findings.push(problem("connection", reason, advice));
            // The one that holds slot 0 may be there, and knows what the others are.
            if let Ok(connection) = store.raw().await {
                findings.extend(server(connection).examine().await);
            }
        }
    }
    Ok(findings)
}

/// What was found on several servers, by check: one line where all is well, else what is not, and where.
fn together(mut of_servers: Vec<(String, Vec<Finding>)>) -> Vec<Finding> {
    let count = of_servers.len();
    if count < 2 {
        return of_servers.pop().map(|(_, findings)| findings).unwrap_or_default();
    }
    let mut by_check: IndexMap<&'static str, IndexMap<String, (Vec<String>, Finding)>> = IndexMap::new();
    for (address, findings) in of_servers {
        for finding in findings {
            let alike = by_check.entry(finding.check).or_default();
            alike.entry(finding.found.clone()).or_insert_with(|| (Vec::new(), finding)).0.push(address.clone());
        }
    }
    let mut findings = Vec::new();
    for alike in by_check.into_values() {
        let all_well = alike.values().all(|(_, finding)| finding.level == Level::Ok);
        let differs = alike.len() > 1;
        let told = alike.into_values().filter(|(_, finding)| all_well || finding.level != Level::Ok);
        for (addresses, finding) in told.take(if all_well { 1 } else { count }) {
            let place = match (addresses.len() == count, all_well && differs) {
                (_, true) => format!("all {count} primaries, on one of them"),
                (true, _) => format!("all {count} primaries"),
                _ => addresses.join(", "),
            };
            findings.push(Finding { found: format!("{place}: {}", finding.found), ..finding });
        }
    }
    findings
}

fn connection(health: &Health) -> Finding {
    let reasons = health.reasons.join("; ");
    match health.status {
        HealthStatus::Connected => ok("connection", "the server answers"),
        HealthStatus::Disconnected if is_refusal(&reasons) => problem("connection", reasons, MEND_LOGIN),
        HealthStatus::Disconnected => problem("connection", reasons, "start the server, or check host, port and TLS"),
        _ if reasons.contains("its memory is full") => problem(
            "connection",
            reasons,
            "raise maxmemory, or move what else lies there: until then charges fail or budgets vanish",
        ),
        _ => problem("connection", reasons, "until that is over requests may be refused"),
    }
}

/// Whether the server answered whoever connects, and refused.
fn is_refusal(reasons: &str) -> bool {
    reasons.contains(" refused the ") || reasons.contains(" refused database ")
}

fn version(health: &Health) -> Finding {
    let (Some(kind), Some(version)) = (health.server.kind, &health.server.version) else {
        return note("version", "the server does not tell what it is");
    };
    let least = if kind == ServerKind::Valkey { (7, 2) } else { (6, 2) };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = format!("{kind:?} {version}");
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < least {
        return problem("version", found, "use Redis 6.2 or later, or Valkey 7.2 or later");
    }
    ok("version", found)
}

impl Server<'_> {
    async fn examine(mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        match self.ask::<String>(&cmd("INFO")).await {
            Ok(info) => self.info = Some(lines(&info)),
            Err(err) => {
                findings.push(note("info", format!("INFO cannot be read ({err}); what it tells is not checked")));
            }
        }
        if self.told("cluster_enabled") == Some("1") {
            findings.push(self.cluster().await);
        }
        findings.push(self.scripting().await);
        findings.push(self.rights().await);
        findings.push(self.eviction().await);
        findings.push(self.persistence().await);
        findings.push(self.clock().await);
        findings.push(self.latency().await);
        findings.push(self.immortal().await);
        findings
    }

    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match tokio::time::timeout(ANSWER_LIMIT, command.query_async(&mut self.connection)).await {
            Ok(answer) => answer,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    fn told(&self, name: &str) -> Option<&str> {
        self.info.as_ref()?.get(name).map(String::as_str)
    }

    async fn setting(&mut self, name: &str) -> Result<String, RedisError> {
        let mut found: HashMap<String, String> = self.ask(cmd("CONFIG").arg("GET").arg(name)).await?;
        Ok(found.remove(name).unwrap_or_default())
    }

    async fn cluster(&mut self) -> Finding {
        if !self.config.is_cluster() {
            return problem(
                "cluster",
                "this is one node of a cluster, and it is spoken to as if it were all",
                "give the URL as redis+cluster:// or rediss+cluster://",
            );
        }
        match self.ask::<String>(cmd("CLUSTER").arg("INFO")).await {
            Ok(info) => {
                let info = lines(&info);
                let told = |name: &str| info.get(name).map_or("unknown", String::as_str);
                let found =
                    format!("state {}, {} of 16384 slots are served", told("cluster_state"), told("cluster_slots_ok"));
                match told("cluster_state") {
                    "ok" => ok("cluster", found),
                    _ => problem(
                        "cluster",
                        found,
                        "look with `redis-cli --cluster check`; calls to the other slots fail",
                    ),
                }
            }
            Err(err) => note("cluster", format!("CLUSTER INFO cannot be read: {err}")),
        }
    }

    async fn scripting(&mut self) -> Finding {
        // No script has this name, so a server that would run it says so.
        let evalsha = self.ask::<i64>(cmd("EVALSHA").arg("0".repeat(40)).arg(0)).await;
        let eval = self.ask::<i64>(cmd("EVAL").arg("return 1").arg(0)).await;
        match (evalsha, eval) {
            (Err(err), Ok(1)) if err.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                ok("scripting", "scripts can be run")
            }
            (Err(err), Err(_)) if err.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => warning(
                "scripting",
                "EVALSHA is allowed and EVAL is not",
                "allow +eval, or run `costguard scripts load` as another user whenever the server has restarted",
            ),
            (Err(err), _) => problem("scripting", err.to_string(), "allow +eval and +evalsha to this user"),
            (Ok(_), _) => note("scripting", "an unknown answer to EVALSHA"),
        }
    }

    async fn rights(&mut self) -> Finding {
        let guard = self.guard;
        let mut check = cmd("EVAL");
        check.arg(DENIED).arg(0).arg(format!("{}doctor", guard.key_prefix())).arg(&COMMANDS);
        match self.ask::<Vec<String>>(&check).await {
            Ok(denied) if denied.is_empty() => ok("rights", "all commands of the scripts are allowed"),
            Ok(denied) => problem(
                "rights",
                format!("not allowed on keys like {}: {}", guard.key_pattern(), denied.join(" ")),
                format!("ACL SETUSER NAME {}", self.config.acl_rule(&guard.key_pattern())),
            ),
            Err(err) if err.to_string().contains("acl_check_cmd") => {
                note("rights", "a server before Redis 7 does not tell which commands are allowed")
            }
            Err(err) => note("rights", format!("cannot be checked: {err}")),
        }
    }

    async fn eviction(&mut self) -> Finding {
        let policy = match self.told("maxmemory_policy").map(ToOwned::to_owned) {
            Some(policy) => policy,
            None => match self.setting("maxmemory-policy").await {
                Ok(policy) => policy,
                Err(err) => {
                    return note(
                        "eviction",
                        format!("maxmemory-policy cannot be read ({err}); it should be noeviction"),
                    );
                }
            },
        };
        if policy == "noeviction" {
            return ok("eviction", "maxmemory-policy is noeviction");
        }
        warning(
            "eviction",
            format!("maxmemory-policy is {policy}: a full server erases budgets, which then start from zero"),
            "set maxmemory-policy noeviction, or keep budgets on a server of their own",
        )
    }

    async fn persistence(&mut self) -> Finding {
        let replicas = self.told("connected_slaves").unwrap_or("unknown").to_owned();
        let append_only = match self.told("aof_enabled") {
            Some(enabled) => Ok(enabled == "1"),
            None => self.setting("appendonly").await.map(|value| value == "yes"),
        };
        let snapshots = self.setting("save").await.map(|save| !save.is_empty());
        let replicas_are = format!("replicas: {replicas}");
        match (append_only, snapshots) {
            (Ok(true), _) => ok("persistence", format!("an append-only file is kept; {replicas_are}")),
            (_, Ok(true)) => {
                note("persistence", format!("snapshots only: a crash forgets what came after the last; {replicas_are}"))
            }
            (Ok(false), Ok(false)) => warning(
                "persistence",
                format!("nothing is kept on disk: a restart forgets all budgets; {replicas_are}"),
                "set appendonly yes",
            ),
            (Err(err), _) | (_, Err(err)) => {
                note("persistence", format!("CONFIG cannot be read ({err}): ask its operator; {replicas_are}"))
            }
        }
    }

    async fn clock(&mut self) -> Finding {
        let before = SystemTime::now();
        let asked_at = Instant::now();
        let (seconds, micros): (u64, u64) = match self.ask(&cmd("TIME")).await {
            Ok(time) => time,
            Err(err) => return note("clock", format!("TIME cannot be read: {err}")),
        };
        let ours = (before + asked_at.elapsed() / 2).duration_since(UNIX_EPOCH).unwrap_or_default();
        let difference = ours.abs_diff(Duration::from_secs(seconds) + Duration::from_micros(micros));
        let found = format!("{} ms from this machine's", difference.as_millis());
        if difference < CLOCK_LIMIT {
            return ok("clock", found);
        }
        warning("clock", found, "the server's clock decides windows: keep both in step with NTP")
    }

    async fn latency(&mut self) -> Finding {
        let mut times = [Duration::ZERO; PINGS];
        for time in &mut times {
            let sent_at = Instant::now();
            // Refused is answered as well.
            let _ = self.ask::<redis::Value>(&cmd("PING")).await;
            *time = sent_at.elapsed();
        }
        times.sort_unstable();
        let [.., median, _, _, _, _] = times;
        let found = format!("{median:.1?} in the median of {PINGS}");
        if median < LATENCY_LIMIT {
            return ok("latency", found);
        }
        warning("latency", found, "every decision waits for one round trip: run the server near the service")
    }

    async fn immortal(&mut self) -> Finding {
        let guard = self.guard;
        let search = match self.search(&guard.key_pattern()).await {
            Ok(search) => search,
            Err(err) => return note("ttl", format!("keys cannot be looked through: {err}")),
        };
        let Search { seen, immortal, example, whole } = search;
        let stopped = if whole { "" } else { " (stopped early: there are more)" };
        let Some(example) = example else {
            return ok("ttl", format!("none of {seen} keys lacks a TTL{stopped}"));
        };
        let found = format!("{immortal} of {seen} keys lack a TTL{stopped}, {example:?} for one");
        if guard.key_prefix().is_empty() {
            return note("ttl", format!("{found}; without --prefix the keys of others count, too"));
        }
        warning("ttl", found, "no script leaves such a key: find who else writes under this prefix")
    }

    async fn search(&mut self, pattern: &str) -> Result<Search, RedisError> {
        let until = Instant::now() + SCAN_LIMIT;
        let mut search = Search::default();
        let (mut cursor, mut looked) = (0_u64, 0);
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
            let (next, names): (u64, Vec<Vec<u8>>) = self.ask(&scan).await?;
            let mut pipe = redis::pipe();
            for name in &names {
                pipe.cmd("PTTL").arg(name);
            }
            let ttls: Vec<i64> = match names.is_empty() {
                true => Vec::new(),
                false => tokio::time::timeout(ANSWER_LIMIT, pipe.query_async(&mut self.connection))
                    .await
                    .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??,
            };
            search.seen += names.len();
            for (name, _) in names.iter().zip(ttls).filter(|(_, ttl)| *ttl == -1) {
                search.immortal += 1;
                search.example.get_or_insert_with(|| String::from_utf8_lossy(name).into_owned());
            }
            looked += SCAN_COUNT;
            cursor = next;
            search.whole = cursor == 0;
            if search.whole || looked >= SCAN_KEYS || Instant::now() >= until {
                return Ok(search);
            }
        }
    }
}

/// What a look through the keys found.
#[derive(Default)]
struct Search {
    seen: usize,
    immortal: usize,
    example: Option<String>,
    /// Whether it came to the end.
    whole: bool,
}

impl Report {
    fn to_text(&self) -> String {
        let mut text = format!("{}\n\n", self.store);
        for Finding { check, level, found, advice } in &self.findings {
            let level = format!("{level:?}").to_lowercase();
            text += &format!("{level:<8} {check:<12} {found}\n");
            if let Some(advice) = advice {
                text += &format!("{:<21} -> {advice}\n", "");
            }
        }
        text + &format!(
            "\nThe least rights that costguard needs:\n  {}\nBesides, +scan to list holds and for top, +wait to wait for replicas",
            self.acl_rule
        )
    }
}

fn lines(info: &str) -> HashMap<String, String> {
    let pairs = info.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn finding(check: &'static str, level: Level, found: impl Into<String>, advice: Option<String>) -> Finding {
    Finding { check, level, found: found.into(), advice }
}

fn ok(check: &'static str, found: impl Into<String>) -> Finding {
    finding(check, Level::Ok, found, None)
}

fn note(check: &'static str, found: impl Into<String>) -> Finding {
    finding(check, Level::Note, found, None)
}

fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    finding(check, Level::Warning, found, Some(advice.into()))
}

fn problem(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    finding(check, Level::Problem, found, Some(advice.into()))
}
