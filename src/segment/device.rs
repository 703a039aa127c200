//! Device names, as far as one engine's nodes have to agree on them.

use std::fmt;

/// A TensorFlow device name with every part optional ("/job:worker/task:1", "/device:GPU:0", "").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    job: Option<String>,
    replica: Option<u32>,
    task: Option<u32>,
    /// In capitals: "CPU", "GPU".
    kind: Option<String>,
    id: Option<u32>,
}

impl Device {
    /// Reads a full, partial or legacy ("/gpu:0") device name; `None` where the text is no device name.
    pub fn parse(text: &str) -> Option<Device> {
        fn number(text: &str) -> Option<Option<u32>> {
            if text == "*" { Some(None) } else { text.parse().ok().map(Some) }
        }
        let mut device = Device::default();
        let mut parts = text.split('/');
        if !parts.next()?.is_empty() {
            return None;
        }
        for part in parts {
            let (key, value) = part.split_once(':')?;
            match key {
                "job" => device.job = (value != "*").then(|| value.to_string()),
                "replica" => device.replica = number(value)?,
                "task" => device.task = number(value)?,
                "device" => {
                    let (kind, id) = value.split_once(':').unwrap_or((value, "*"));
                    device.kind = (kind != "*").then(|| kind.to_ascii_uppercase());
                    device.id = number(id)?;
                }
                "cpu" | "CPU" | "gpu" | "GPU" => {
                    device.kind = Some(key.to_ascii_uppercase());
                    device.id = number(value)?;
                }
                _ => return None,
            }
        }
        Some(device)
    }

    /// "CPU", "GPU", ...; `None` where the name leaves it open.
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// The device that satisfies both names; `None` where they contradict each other.
    pub fn merge(&self, other: &Device) -> Option<Device> {
        fn both<T: Clone + PartialEq>(a: &Option<T>, b: &Option<T>) -> Option<Option<T>> {
            match (a, b) {
                (Some(a), Some(b)) if a != b => None,
                (Some(value), _) | (None, Some(value)) => Some(Some(value.clone())),
                (None, None) => Some(None),
            }
        }
        Some(Device {
            job: both(&self.job, &other.job)?,
            replica: both(&self.replica, &other.replica)?,
            task: both(&self.task, &other.task)?,
            kind: both(&self.kind, &other.kind)?,
            id: both(&self.id, &other.id)?,
        })
    }
}

/// The canonical name, without the parts that are open; empty where all are.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(job) = &self.job {
            write!(f, "/job:{job}")?;
        }
        if let Some(replica) = self.replica {
            write!(f, "/replica:{replica}")?;
        }
        if let Some(task) = self.task {
            write!(f, "/task:{task}")?;
        }
        match (&self.kind, self.id) {
            (Some(kind), Some(id)) => write!(f, "/device:{kind}:{id}"),
            (Some(kind), None) => write!(f, "/device:{kind}:*"),
            (None, Some(id)) => write!(f, "/device:*:{id}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(text: &str) -> Device {
        Device::parse(text).unwrap()
    }

    #[test]
    fn names_are_read_and_written_canonically() {
        for (text, canonical) in [
            ("", ""),
            ("/gpu:0", "/device:GPU:0"),
            ("/device:gpu:1", "/device:GPU:1"),
            ("/device:CPU:*", "/device:CPU:*"),
            (
                "/job:localhost/replica:0/task:0/device:GPU:0",
                "/job:localhost/replica:0/task:0/device:GPU:0",
            ),
            ("/job:worker/task:3", "/job:worker/task:3"),
        ] {
            assert_eq!(device(text).to_string(), canonical);
        }
        for text in ["GPU:0", "/gpu", "/device:GPU:x", "/moon:1"] {
            assert_eq!(Device::parse(text), None, "{text}");
        }
    }

    #[test]
    fn unassigned_merges_with_either_and_kinds_do_not_mix() {
        let full = device("/job:localhost/replica:0/task:0/device:GPU:0");
        assert_eq!(device("").merge(&device("/cpu:0")), Some(device("/cpu:0")));
        assert_eq!(device("/gpu:0").merge(&full), Some(full.clone()));
        assert_eq!(device("/gpu:0").merge(&device("/cpu:0")), None);
        assert_eq!(device("/gpu:0").merge(&device("/gpu:1")), None);
        assert_eq!(full.merge(&device("/job:worker")), None);
    }
}
