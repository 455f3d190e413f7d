//! What a disk holds after a power cut, rebuilt from the journal of `forget.c`.
//!
//! A file is what was synced, and of the later writes any version of any page,
//! torn pages too. A folder is the names that were synced, and of the later
//! changes any first few: journalling file systems keep their order.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// How forgetful the cut is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// No power cut at all, only a kill: everything that was written is there.
    Spares,
    /// Nothing that was not synced is there.
    Forgets,
    /// Of what was not synced, some pages are there.
    Some,
    /// As `Some`, and pages are torn between two versions.
    Tears,
}

/// Random numbers (splitmix64); a seed says all.
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `most`, both possible.
    pub(super) fn up_to(&mut self, most: usize) -> usize {
        (self.roll() % (most as u64 + 1)) as usize
    }
}

type Names = BTreeMap<String, usize>;

enum Node {
    File { durable: Vec<u8>, pending: Vec<FileStep> },
    Folder { now: Names, durable: Names, pending: Vec<NameStep> },
}

enum FileStep {
    Write(usize, Vec<u8>),
    Cut(usize),
}

enum NameStep {
    Set(String, usize),
    Gone(String),
    Moved(String, String),
}

/// One step of a child.
pub(super) struct Record<'a> {
    kind: u8,
    inode: u64,
    offset: usize,
    text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Take the first whole record off a journal.
    pub(super) fn first(journal: &mut &'a [u8]) -> Option<Self> {
        let (head, after) = journal.split_first_chunk::<21>()?;
        let number = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().unwrap());
        let length = u32::from_ne_bytes(head[17..21].try_into().unwrap()) as usize;
        let (text, after) = after.split_at_checked(length)?;
        *journal = after;
        Some(Self { kind: head[0], inode: number(1), offset: number(9) as usize, text })
    }

    /// What the child said, if that is what it did.
    pub(super) fn said(&self) -> Option<&'a str> {
        (self.kind == b'A').then(|| std::str::from_utf8(self.text).unwrap())
    }
}

pub(super) struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    /// Which node an inode is now; a number is used again after its file is gone.
    inodes: HashMap<u64, usize>,
}

impl Disk {
    /// The disk of a folder as it is: all of it counts as synced.
    pub(super) fn of(root: &Path) -> Self {
        let mut disk = Self { root: root.to_path_buf(), nodes: Vec::new(), inodes: HashMap::new() };
        disk.adopt(root);
        disk
    }

    fn adopt(&mut self, path: &Path) -> usize {
        let id = self.nodes.len();
        let meta = fs::symlink_metadata(path).unwrap();
        self.inodes.insert(meta.ino(), id);
        if !meta.is_dir() {
            self.nodes.push(Node::File { durable: fs::read(path).unwrap(), pending: Vec::new() });
            return id;
        }
        self.nodes.push(Node::Folder { now: Names::new(), durable: Names::new(), pending: Vec::new() });
        let mut found = Names::new();
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            found.insert(entry.file_name().into_string().unwrap(), self.adopt(&entry.path()));
        }
        self.nodes[id] = Node::Folder { now: found.clone(), durable: found, pending: Vec::new() };
        id
    }

    /// Play a journal onto the disk; says how long its whole records are. A record cut by a kill is left out.
    pub(super) fn replay(&mut self, journal: &[u8]) -> usize {
        let mut rest = journal;
        while let Some(record) = Record::first(&mut rest) {
            self.play(&record);
        }
        journal.len() - rest.len()
    }

    /// Play one record onto the disk.
    pub(super) fn play(&mut self, record: &Record<'_>) {
        self.step(record.kind, record.inode, record.offset, record.text);
    }

    fn step(&mut self, kind: u8, inode: u64, offset: usize, text: &[u8]) {
        let path = || String::from_utf8(text.to_vec()).unwrap();
        match kind {
            b'O' | b'D' => {
                let id = self.nodes.len();
                self.nodes.push(if kind == b'O' {
                    Node::File { durable: Vec::new(), pending: Vec::new() }
                } else {
                    Node::Folder { now: Names::new(), durable: Names::new(), pending: Vec::new() }
                });
                self.inodes.insert(inode, id);
                self.name(&path(), |name| NameStep::Set(name, id));
            }
            b'W' => self.file(inode).push(FileStep::Write(offset, text.to_vec())),
            b'T' => self.file(inode).push(FileStep::Cut(offset)),
            b'S' => self.sync(inode),
            b'U' => self.name(&path(), NameStep::Gone),
            b'R' | b'L' => {
                let both = path();
                let (from, to) = both.split_once('\0').unwrap();
                let id = self.find(from);
                if kind == b'R' && Path::new(from).parent() == Path::new(to).parent() {
                    let name = Path::new(from).file_name().unwrap().to_str().unwrap().to_owned();
                    self.name(to, |to| NameStep::Moved(name, to));
                } else {
                    self.name(to, |name| NameStep::Set(name, id));
                    if kind == b'R' {
                        self.name(from, NameStep::Gone);
                    }
                }
            }
            b'A' => {}
            _ => panic!("unknown record {kind}"),
        }
    }

    fn file(&mut self, inode: u64) -> &mut Vec<FileStep> {
        let id = *self.inodes.get(&inode).expect("a write to a file that the journal never saw made");
        match &mut self.nodes[id] {
            Node::File { pending, .. } => pending,
            Node::Folder { .. } => panic!("a write to a folder"),
        }
    }

    fn sync(&mut self, inode: u64) {
        let id = *self.inodes.get(&inode).expect("a sync of a file that the journal never saw made");
        match &mut self.nodes[id] {
            Node::File { durable, pending } => pending.drain(..).for_each(|step| apply(durable, &step)),
            Node::Folder { now, durable, pending } => {
                pending.clear();
                durable.clone_from(now);
            }
        }
    }

    fn find(&self, path: &str) -> usize {
        let below = Path::new(path).strip_prefix(&self.root).expect("a path outside");
        below.components().fold(0, |at, part| match &self.nodes[at] {
            Node::Folder { now, .. } => *now.get(part.as_os_str().to_str().unwrap()).expect("a name nobody made"),
            Node::File { .. } => panic!("{path} leads through a file"),
        })
    }

    fn name(&mut self, path: &str, step: impl FnOnce(String) -> NameStep) {
        let path = Path::new(path);
        let folder = self.find(path.parent().unwrap().to_str().unwrap());
        let step = step(path.file_name().unwrap().to_str().unwrap().to_owned());
        let Node::Folder { now, pending, .. } = &mut self.nodes[folder] else { panic!("a name in a file") };
        rename(now, &step);
        pending.push(step);
    }

    /// Does the disk, with nothing forgotten, hold what the real folder holds? If
    /// not, the journal has a hole and its cuts prove nothing.
    pub(super) fn differs_from_real(&self) -> Option<String> {
        self.compare(0, &self.root)
    }

    fn compare(&self, id: usize, path: &Path) -> Option<String> {
        match &self.nodes[id] {
            Node::File { durable, pending } => {
                let mut content = durable.clone();
                pending.iter().for_each(|step| apply(&mut content, step));
                (fs::read(path).ok()? != content).then(|| format!("content of {}", path.display()))
            }
            Node::Folder { now, .. } => {
                let entries =
                    fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
                let real: std::collections::BTreeSet<_> = entries.collect();
                if real != now.keys().cloned().collect() {
                    return Some(format!("names in {}: {real:?}, journal {:?}", path.display(), now.keys()));
                }
                now.iter().find_map(|(name, id)| self.compare(*id, &path.join(name)))
            }
        }
    }

    /// Write into `to` what a power cut left.
    pub(super) fn cut(&self, to: &Path, cut: Cut, dice: &mut Dice) {
        self.cut_node(0, to, cut, dice);
    }

    fn cut_node(&self, id: usize, to: &Path, cut: Cut, dice: &mut Dice) {
        match &self.nodes[id] {
            Node::File { durable, pending } => fs::write(to, cut_file(durable, pending, cut, dice)).unwrap(),
            Node::Folder { durable, pending, .. } => {
                let mut names = durable.clone();
                let kept = match cut {
                    Cut::Spares => pending.len(),
                    Cut::Forgets => 0,
                    Cut::Some | Cut::Tears => dice.up_to(pending.len()),
                };
                pending.iter().take(kept).for_each(|step| rename(&mut names, step));
                fs::create_dir_all(to).unwrap();
                names.iter().for_each(|(name, id)| self.cut_node(*id, &to.join(name), cut, dice));
            }
        }
    }
}

fn rename(names: &mut Names, step: &NameStep) {
    match step {
        NameStep::Set(name, id) => drop(names.insert(name.clone(), *id)),
        NameStep::Gone(name) => drop(names.remove(name)),
        NameStep::Moved(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
    }
}

fn apply(content: &mut Vec<u8>, step: &FileStep) {
    match step {
        FileStep::Write(at, data) => put(content, *at, data),
        FileStep::Cut(length) => content.resize(*length, 0),
    }
}

fn put(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    if content.len() < at + data.len() {
        content.resize(at + data.len(), 0);
    }
    content[at..at + data.len()].copy_from_slice(data);
}

/// Each page stops at a version of its own; a torn one has some sectors of the next.
fn cut_file(durable: &[u8], pending: &[FileStep], cut: Cut, dice: &mut Dice) -> Vec<u8> {
    let mut content = durable.to_vec();
    match cut {
        Cut::Forgets => return content,
        Cut::Spares => {
            pending.iter().for_each(|step| apply(&mut content, step));
            return content;
        }
        Cut::Some | Cut::Tears => {}
    }
    let mut versions: HashMap<usize, usize> = HashMap::new();
    for step in pending {
        if let FileStep::Write(at, data) = step {
            (at / PAGE..=(at + data.len().max(1) - 1) / PAGE).for_each(|page| *versions.entry(page).or_default() += 1);
        }
    }
    let mut pages: Vec<_> = versions.into_iter().collect();
    pages.sort_unstable();
    // How many more versions each page takes, and whether part of the one after.
    let mut left: HashMap<_, _> = pages.into_iter().map(|(page, all)| (page, dice.up_to(all))).collect();
    for step in pending {
        match step {
            FileStep::Cut(length) if dice.up_to(1) == 1 => content.resize(*length, 0),
            FileStep::Cut(_) => {}
            FileStep::Write(at, data) => {
                let mut from = 0;
                while from < data.len() {
                    let page = (at + from) / PAGE;
                    let to = data.len().min((page + 1) * PAGE - at);
                    match left.get_mut(&page) {
                        Some(0) => {
                            left.remove(&page);
                            if matches!(cut, Cut::Tears) {
                                // The disk stopped between two sectors, from the front or from the back.
                                let middle = page * PAGE + SECTOR * (1 + dice.up_to(PAGE / SECTOR - 2));
                                let middle = middle.clamp(at + from, at + to) - at;
                                let (a, b) = if dice.up_to(1) == 1 { (from, middle) } else { (middle, to) };
                                put(&mut content, at + a, &data[a..b]);
                            }
                        }
                        Some(more) => {
                            *more -= 1;
                            put(&mut content, at + from, &data[from..to]);
                        }
                        None => {}
                    }
                    from = to;
                }
            }
        }
    }
    content
}
