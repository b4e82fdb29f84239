//! Many nodes of ours in one process, driven by lines of JSON as the foreign clusters are: the
//! library's `Dht`, each with a socket of its own.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use dhtnet::dht::item::{ItemSigner, MutableItem};
use dhtnet::dht::value::{Draft, Filter, UnixTime, Value as DhtValue, ValueId};
use dhtnet::dht::{Bootstrap, Dht, Id, ValueEvent};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// For all nodes to know eight others.
const START_LIMIT: Duration = Duration::from_secs(120);

/// For one push.
const LIMIT: Duration = Duration::from_secs(20);

/// How often a node is asked whether it knows others.
const POLL: Duration = Duration::from_millis(10);

/// The first argument of a process that is to be a cluster.
pub const VERB: &str = "dht-cluster";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs `COUNT FIRST_PORT [BOOTSTRAP_PORT]` until stdin ends. The first line written says that all
/// nodes have joined.
///
/// # Errors
/// A bad argument, a port that is taken, a node that does not join.
pub fn serve(arguments: &[String]) -> Outcome<()> {
    let numbers: Vec<u16> = arguments
        .iter()
        .map(|argument| argument.parse())
        .collect::<Result<_, _>>()?;
    let [count, first_port, bootstrap @ ..] = numbers.as_slice() else {
        return Err("COUNT FIRST_PORT [BOOTSTRAP_PORT] are missing".into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let started = Instant::now();
    let seed = bootstrap.first().copied();
    let nodes = runtime.block_on(start(*count, *first_port, seed))?;
    let seconds = started.elapsed().as_secs_f64();
    let mut output = io::stdout();
    writeln!(output, "{}", json!({ "ready": true, "seconds": seconds }))?;
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        if request["do"] == "quit" {
            break;
        }
        let said = runtime.block_on(measure(&nodes, &request));
        let said = said.unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(output, "{said}")?;
    }
    Ok(())
}

async fn start(count: u16, first_port: u16, bootstrap: Option<u16>) -> Outcome<Vec<Dht>> {
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut nodes = Vec::new();
    for port in first_port..first_port + count {
        let seed = bootstrap.or((port != first_port).then_some(first_port));
        let seeds = seed.map(|port| Bootstrap::Address(at(port)));
        let node = Dht::builder().bind(at(port)).bootstrap(seeds);
        nodes.push(node.build().await?);
    }
    let deadline = Instant::now() + START_LIMIT;
    let wanted = usize::from(count).saturating_sub(1).min(8);
    for node in &nodes {
        while node.nodes().len() < wanted {
            if Instant::now() > deadline {
                return Err("a node did not join".into());
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(nodes)
}

#[derive(Debug, Default)]
struct Samples {
    put: Vec<f64>,
    first: Vec<f64>,
    get: Vec<f64>,
    push: Vec<f64>,
}

async fn measure(nodes: &[Dht], request: &Value) -> Outcome<Value> {
    let number = |name: &str| request[name].as_u64().unwrap_or(0) as usize;
    let label = request["label"].as_str().unwrap_or_default();
    let mut samples = Samples::default();
    for round in 0..number("rounds") {
        // Two walks over the nodes that never meet in the same round.
        let at = round * 7 % nodes.len();
        let writer = &nodes[at];
        let reader = &nodes[(at + 1 + round * 13 % (nodes.len() - 1)) % nodes.len()];
        let name = format!("{label}{round}");
        if request["kind"] == "items" {
            item(writer, reader, &name, &mut samples).await?;
        } else {
            value(writer, reader, &name, &mut samples).await?;
        }
    }
    for round in 0..number("pushes") {
        let at = round * 5 % nodes.len();
        let listener = &nodes[(at + 1 + round * 3 % (nodes.len() - 1)) % nodes.len()];
        push(
            listener,
            &nodes[at],
            &format!("{label} push {round}"),
            &mut samples,
        )
        .await?;
    }
    let Samples {
        put,
        first,
        get,
        push,
    } = samples;
    Ok(json!({ "put": put, "first": first, "get": get, "push": push }))
}

fn value_at(key: Id) -> Outcome<DhtValue> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let draft = Draft::new(key, ValueId(1), vec![b'v'; 64]);
    Ok(draft.unsigned(UnixTime(since_1970.as_secs()))?.value)
}

async fn value(writer: &Dht, reader: &Dht, name: &str, samples: &mut Samples) -> Outcome<()> {
    let key = Id::hash_of(name.as_bytes());
    let made = value_at(key)?;
    let started = Instant::now();
    if writer.put_value(key, made).await?.acknowledged > 0 {
        samples.put.push(milliseconds(started));
    }
    let started = Instant::now();
    let mut found = reader.values(key, Filter::default()).await?;
    if found.next().await.is_some() {
        samples.first.push(milliseconds(started));
        while found.next().await.is_some() {}
    }
    samples.get.push(milliseconds(started));
    Ok(())
}

async fn item(writer: &Dht, reader: &Dht, name: &str, samples: &mut Samples) -> Outcome<()> {
    let signer =
        ItemSigner::from_seed(Id::hash_of(name.as_bytes()).as_bytes().repeat(2)[..32].try_into()?);
    let bencoded = format!("64:{}", "v".repeat(64));
    let item = MutableItem::sign(&signer, b"", 1, bencoded.as_bytes())?;
    let target = item.target();
    let started = Instant::now();
    if writer.put_mutable(item, None).await?.acknowledged > 0 {
        samples.put.push(milliseconds(started));
    }
    // A newer one may be anywhere, so the first is known to be the newest at the end only.
    let started = Instant::now();
    if reader.get_item(target, b"").await?.is_some() {
        samples.first.push(milliseconds(started));
    }
    samples.get.push(milliseconds(started));
    Ok(())
}

async fn push(listener: &Dht, writer: &Dht, name: &str, samples: &mut Samples) -> Outcome<()> {
    let key = Id::hash_of(name.as_bytes());
    let mut heard = listener.listen(key, Filter::default()).await?;
    // The listener reaches the nodes that will hold the value.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let made = value_at(key)?;
    let started = Instant::now();
    let put = async {
        // What became of it, the listener tells.
        let _ = writer.put_value(key, made).await;
        std::future::pending::<()>().await;
    };
    let hear = async {
        while let Some(event) = heard.next().await {
            if matches!(event, ValueEvent::New(_)) {
                return Some(milliseconds(started));
            }
        }
        None
    };
    let heard = tokio::select! {
        () = put => None,
        heard = hear => heard,
        () = tokio::time::sleep(LIMIT) => None,
    };
    samples.push.extend(heard);
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
