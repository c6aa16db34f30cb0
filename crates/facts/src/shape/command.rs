//! Commands of key-value stores: the command stays, its keys and values become one `?`.

use std::str::SplitAsciiWhitespace;

use super::Statement;
use super::document::read_document;
use super::literals::Literals;
use super::system::Language;

/// How many different commands of one pipeline are named; [`MORE`] stands for the rest.
const COMMANDS_MAX: usize = 16;

pub(super) const MORE: &str = "…";

pub(super) const VALUE: &str = "?";

/// What ends a command of a pipeline.
pub(super) const LINE_ENDS: [char; 3] = ['\n', '\r', ';'];

/// Returns the shape of a text that is not SQL, in the language of `system` (`db.system.name`).
///
/// Redis: each line is a command, and a pipeline is named by its different commands in the order of
/// their first use. A first word that is no known command is a value, as is what follows a line
/// break in one. A text of an unknown system is read as a document.
///
/// ```
/// use timesink_facts::shape::command_shape;
///
/// assert_eq!(command_shape(Some("redis"), "MGET user:1 user:2"), "MGET ?");
/// assert_eq!(command_shape(Some("redis"), "LLEN ?\nLLEN ?\nsadd tags new"), "LLEN ?; SADD ?");
/// assert_eq!(command_shape(Some("mongodb"), "find {'name': 'Bob'}"), "find {name: ?}");
/// ```
pub fn command_shape(system: Option<&str>, text: &str) -> String {
    read_command(system, text).shape
}

/// Reads a text that is not SQL.
pub(super) fn read_command(system: Option<&str>, text: &str) -> Statement {
    match Language::of(system) {
        Some(Language::Redis) => read_pipeline(text, read_redis),
        Some(Language::Memcached) => read_pipeline(text, read_memcached),
        _ => read_document(text),
    }
}

/// Returns how many words of a command of Redis, trimmed, its shape shows.
pub(super) fn redis_words_shown(line: &str) -> usize {
    words_shown(line, &read_redis(line))
}

/// Returns how many words of a command of memcached, trimmed, its shape shows.
pub(super) fn memcached_words_shown(line: &str) -> usize {
    words_shown(line, &read_memcached(line))
}

fn words_shown(line: &str, command: &Command<'_>) -> usize {
    line.split_ascii_whitespace().count() - command.arguments.clone().count()
}

/// One command of a pipeline.
struct Command<'a> {
    shape: String,
    arguments: SplitAsciiWhitespace<'a>,
    /// How many of the arguments belong to the first key, of a command that takes many.
    of_first_key: Option<usize>,
    /// It takes many keys by its name.
    is_multi: bool,
}

impl<'a> Command<'a> {
    /// What is no command is the value, or the rest of one, that breaks a line.
    fn value(line: &'a str) -> Self {
        let (shape, arguments) = (VALUE.to_owned(), line.split_ascii_whitespace());
        Self { shape, arguments, of_first_key: None, is_multi: false }
    }

    fn more() -> Self {
        Self { shape: MORE.to_owned(), ..Self::value("") }
    }

    fn is_value(&self) -> bool {
        self.shape == VALUE
    }

    fn has_arguments(&self) -> bool {
        self.arguments.clone().next().is_some()
    }

    fn asks_for_many(&self) -> bool {
        let further = self.of_first_key.and_then(|count| self.arguments.clone().nth(count));
        self.is_multi || further.is_some()
    }
}

fn read_pipeline(text: &str, read: fn(&str) -> Command<'_>) -> Statement {
    let mut seen: Vec<String> = Vec::new();
    let mut literals = Literals::default();
    // Commands with arguments.
    let mut keyed = 0;
    let mut is_batch = false;
    for line in text.split(LINE_ENDS).map(str::trim).filter(|line| !line.is_empty()) {
        let command = if line == MORE { Command::more() } else { read(line) };
        let is_new = !seen.contains(&command.shape);
        if is_new && seen.len() == COMMANDS_MAX {
            seen.push(MORE.to_owned());
            break;
        }
        keyed += usize::from(!command.is_value() && command.has_arguments());
        is_batch |= command.asks_for_many() || keyed > 1;
        if is_new || command.is_value() {
            let of_first_key = command.of_first_key.unwrap_or(usize::MAX);
            let first = command.arguments.take(of_first_key);
            first.filter(|word| *word != VALUE).for_each(|word| literals.add(0, "", word));
        }
        if is_new {
            seen.push(command.shape);
        }
    }
    Statement { shape: seen.join("; "), literals_hash: literals.hash(), is_batch }
}

fn read_redis(line: &str) -> Command<'_> {
    let mut words = line.split_ascii_whitespace();
    let command = words.next().unwrap_or_default().to_ascii_uppercase();
    if !is_redis_command(&command) {
        return Command::value(line);
    }
    let subcommand = words.clone().next().map(str::to_ascii_uppercase).unwrap_or_default();
    let is_known = REDIS_SUBCOMMANDS
        .iter()
        .any(|(name, subcommands)| *name == command && subcommands.contains(&subcommand.as_str()));
    let of_many = REDIS_COMMANDS_OF_MANY.iter().find(|(name, _)| *name == command);
    let of_first_key = of_many.map(|&(_, arguments)| arguments);
    let mut shape = command;
    if is_known {
        words.next();
        shape.push(' ');
        shape.push_str(&subcommand);
    }
    if words.clone().next().is_some() {
        shape.push_str(" ?");
    }
    Command { shape, arguments: words, of_first_key, is_multi: false }
}

fn read_memcached(line: &str) -> Command<'_> {
    let mut words = line.split_ascii_whitespace();
    let command = words.next().unwrap_or_default().to_ascii_lowercase();
    if !MEMCACHED_COMMANDS.contains(&command.as_str()) {
        return Command::value(line);
    }
    let is_multi = command.ends_with("_many") || command.ends_with("_multi");
    let of_first_key = is_multi.then_some(1);
    let shape = if words.clone().next().is_some() { command + " ?" } else { command };
    Command { shape, arguments: words, of_first_key, is_multi }
}

/// Whether the word, in capitals, is a command of Redis or of one of its modules.
fn is_redis_command(word: &str) -> bool {
    REDIS_COMMANDS.binary_search(&word).is_ok()
        || word.split_once('.').is_some_and(|(module, command)| {
            REDIS_MODULES.contains(&module) && command.len() <= 24 && is_letters(command)
        })
}

fn is_letters(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'.' || b == b'_')
}

/// A list of words without the quotes and commas.
macro_rules! words {
    ($($word:ident)*) => { &[$(stringify!($word)),*] };
}

const REDIS_MODULES: &[&str] = words![BF CF CMS FT GRAPH JSON TDIGEST TOPK TS];

/// The commands that take any number of keys, with how many arguments one key brings. Those that
/// take many fields or members of one key ask for one thing.
const REDIS_COMMANDS_OF_MANY: &[(&str, usize)] = &[
    ("DEL", 1),
    ("EXISTS", 1),
    // Keys, then one path.
    ("JSON.MGET", 2),
    ("MGET", 1),
    ("MSET", 2),
    ("MSETNX", 2),
    ("TOUCH", 1),
    ("UNLINK", 1),
];

/// The commands whose second word names what they do.
const REDIS_SUBCOMMANDS: &[(&str, &[&str])] = &[
    ("ACL", words![CAT DELUSER GETUSER LIST LOAD LOG SAVE SETUSER USERS WHOAMI]),
    (
        "CLIENT",
        words![
            CACHING GETNAME GETREDIR ID INFO KILL LIST PAUSE REPLY SETINFO SETNAME TRACKING
            TRACKINGINFO UNBLOCK UNPAUSE
        ],
    ),
    ("CLUSTER", words![COUNTKEYSINSLOT INFO KEYSLOT MYID NODES SHARDS SLOTS]),
    ("COMMAND", words![COUNT DOCS GETKEYS INFO LIST]),
    ("CONFIG", words![GET RESETSTAT REWRITE SET]),
    ("FUNCTION", words![DELETE DUMP FLUSH KILL LIST LOAD RESTORE STATS]),
    ("LATENCY", words![DOCTOR GRAPH HISTOGRAM HISTORY LATEST RESET]),
    ("MEMORY", words![DOCTOR PURGE STATS USAGE]),
    ("MODULE", words![LIST LOAD UNLOAD]),
    ("OBJECT", words![ENCODING FREQ IDLETIME REFCOUNT]),
    ("PUBSUB", words![CHANNELS NUMPAT NUMSUB SHARDCHANNELS SHARDNUMSUB]),
    ("SCRIPT", words![DEBUG EXISTS FLUSH KILL LOAD]),
    ("SLOWLOG", words![GET LEN RESET]),
    ("XGROUP", words![CREATE CREATECONSUMER DELCONSUMER DESTROY SETID]),
    ("XINFO", words![CONSUMERS GROUPS STREAM]),
];

const MEMCACHED_COMMANDS: &[&str] = words![
    add append cas decr delete delete_many delete_multi flush_all gat gats get get_many get_multi
    gets gets_many incr ma md me mg mn ms prepend quit replace set set_many set_multi stats touch
    verbosity version
];

/// Sorted, in capitals.
const REDIS_COMMANDS: &[&str] = words![
    ACL APPEND ASKING AUTH BGREWRITEAOF BGSAVE BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS BLMOVE
    BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN CLIENT CLUSTER COMMAND CONFIG COPY
    DBSIZE DEBUG DECR DECRBY DEL DISCARD DUMP ECHO EVAL EVALSHA EVALSHA_RO EVAL_RO EXEC EXISTS
    EXPIRE EXPIREAT EXPIRETIME FAILOVER FCALL FCALL_RO FLUSHALL FLUSHDB FUNCTION GEOADD GEODIST
    GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH
    GEOSEARCHSTORE GET GETBIT GETDEL GETEX GETRANGE GETSET HDEL HELLO HEXISTS HEXPIRE HEXPIREAT
    HEXPIRETIME HGET HGETALL HGETDEL HGETEX HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HPERSIST
    HPEXPIRE HPEXPIREAT HPTTL HRANDFIELD HSCAN HSET HSETEX HSETNX HSTRLEN HTTL HVALS INCR INCRBY
    INCRBYFLOAT INFO KEYS LASTSAVE LATENCY LCS LINDEX LINSERT LLEN LMOVE LMPOP LOLWUT LPOP LPOS
    LPUSH LPUSHX LRANGE LREM LSET LTRIM MEMORY MGET MIGRATE MODULE MONITOR MOVE MSET MSETNX MULTI
    OBJECT PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PFCOUNT PFDEBUG PFMERGE PFSELFTEST PING
    PSETEX PSUBSCRIBE PSYNC PTTL PUBLISH PUBSUB PUNSUBSCRIBE QUIT RANDOMKEY READONLY READWRITE
    RENAME RENAMENX REPLCONF REPLICAOF RESET RESTORE ROLE RPOP RPOPLPUSH RPUSH RPUSHX SADD SAVE
    SCAN SCARD SCRIPT SDIFF SDIFFSTORE SELECT SET SETBIT SETEX SETNX SETRANGE SHUTDOWN SINTER
    SINTERCARD SINTERSTORE SISMEMBER SLAVEOF SLOWLOG SMEMBERS SMISMEMBER SMOVE SORT SORT_RO SPOP
    SPUBLISH SRANDMEMBER SREM SSCAN SSUBSCRIBE STRLEN SUBSCRIBE SUBSTR SUNION SUNIONSTORE
    SUNSUBSCRIBE SWAPDB SYNC TIME TOUCH TTL TYPE UNLINK UNSUBSCRIBE UNWATCH WAIT WAITAOF WATCH
    XACK XADD XAUTOCLAIM XCLAIM XDEL XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE
    XSETID XTRIM ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER ZINTERCARD ZINTERSTORE
    ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE
    ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE
    ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::SHAPE_BYTES_MAX;

    #[test]
    fn redis_commands_are_sorted() {
        assert!(REDIS_COMMANDS.is_sorted());
    }

    #[test]
    fn redis_keeps_commands_only() {
        let check = |text, expected: &str| {
            let shape = command_shape(Some("redis"), text);
            assert_eq!(shape, expected);
            assert_eq!(command_shape(Some("redis"), &shape), shape);
        };
        check("GET ?", "GET ?");
        check("get user:123", "GET ?");
        check("BLPOP ? ?", "BLPOP ?");
        check("MGET ? ? ?", "MGET ?");
        check("MGET a", "MGET ?");
        check("PING", "PING");
        check("LLEN ?\nLLEN ?\nLLEN ?\nLLEN ?", "LLEN ?");
        check("SADD a b\nEXPIRE a 1\nSADD c d", "SADD ?; EXPIRE ?");
        check("CONFIG GET maxmemory", "CONFIG GET ?");
        check("CONFIG secret", "CONFIG ?");
        check("CLIENT SETNAME worker-1", "CLIENT SETNAME ?");
        check("JSON.GET doc:1 $", "JSON.GET ?");
        check("SET note first line\nsecret line\nGET note", "SET ?; ?; GET ?");
        check("EVAL local x = 1; return x 0", "EVAL ?; ?");
        check("hunter2", "?");
        check("", "");
    }

    #[test]
    fn a_long_pipeline_is_cut() {
        let commands: Vec<&str> = REDIS_COMMANDS[..20].to_vec();
        let shape = command_shape(Some("redis"), &commands.join("\n"));
        assert_eq!(shape, format!("{}; {MORE}", commands[..COMMANDS_MAX].join("; ")));
        assert!(shape.len() < SHAPE_BYTES_MAX);
        assert_eq!(command_shape(Some("redis"), &shape), shape);
    }

    #[test]
    fn memcached_keeps_commands_only() {
        let check =
            |text, expected: &str| assert_eq!(command_shape(Some("memcached"), text), expected);
        check("get user:1", "get ?");
        check("set key secret", "set ?");
        check("version", "version");
        check("secret", "?");
    }
}
