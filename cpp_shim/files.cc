// TensorFlow's file systems: gs://, s3://, hdfs:// and whatever else is registered.
#include <cstring>
#include <memory>
#include <string>

#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/file_system.h"
#include "tftrt/cpp_shim/internal.h"
#include "tftrt/cpp_shim/versions.h"

namespace tftrt {

using tensorflow::Env;

struct RemoteFile::Parts {
  std::unique_ptr<tensorflow::RandomAccessFile> file;
};

RemoteFile::RemoteFile(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
RemoteFile::~RemoteFile() = default;

Outcome RemoteFile::read(uint64_t offset, rust::Slice<uint8_t> to, size_t& read) const {
  return to_outcome(guarded([&]() -> absl::Status {
    char* scratch = reinterpret_cast<char*>(to.data());
    absl::string_view bytes;
    absl::Status status = read_some(*parts_->file, offset, to.size(), &bytes, scratch);
    // Less than was asked for is the end of the file.
    if (!status.ok() && !absl::IsOutOfRange(status)) return status;
    if (bytes.size() > to.size()) return absl::InternalError("a file system gave more bytes than it was asked for");
    if (!bytes.empty() && bytes.data() != scratch) std::memmove(scratch, bytes.data(), bytes.size());
    read = bytes.size();
    return absl::OkStatus();
  }));
}

struct RemoteWriter::Parts {
  std::unique_ptr<tensorflow::WritableFile> file;
};

RemoteWriter::RemoteWriter(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
RemoteWriter::~RemoteWriter() = default;

Outcome RemoteWriter::append(rust::Slice<const uint8_t> bytes) const {
  return to_outcome(guarded([&] {
    return parts_->file->Append(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }));
}

Outcome RemoteWriter::close() const {
  return to_outcome(guarded([&] { return parts_->file->Close(); }));
}

std::unique_ptr<RemoteFile> remote_open(rust::Str path, uint64_t& length, Outcome& out) {
  auto parts = std::make_unique<RemoteFile::Parts>();
  absl::Status status = guarded([&]() -> absl::Status {
    uint64_t size = 0;
    TF_RETURN_IF_ERROR(Env::Default()->GetFileSize(to_string(path), &size));
    length = size;
    return Env::Default()->NewRandomAccessFile(to_string(path), &parts->file);
  });
  out = to_outcome(status);
  if (!status.ok() || parts->file == nullptr) return nullptr;
  return std::make_unique<RemoteFile>(std::move(parts));
}

std::unique_ptr<RemoteWriter> remote_create(rust::Str path, Outcome& out) {
  auto parts = std::make_unique<RemoteWriter::Parts>();
  absl::Status status = guarded([&] { return Env::Default()->NewWritableFile(to_string(path), &parts->file); });
  out = to_outcome(status);
  if (!status.ok() || parts->file == nullptr) return nullptr;
  return std::make_unique<RemoteWriter>(std::move(parts));
}

Outcome remote_exists(rust::Str path) {
  return to_outcome(guarded([&] { return Env::Default()->FileExists(to_string(path)); }));
}

Outcome remote_rename(rust::Str from, rust::Str to) {
  return to_outcome(guarded([&] { return Env::Default()->RenameFile(to_string(from), to_string(to)); }));
}

Outcome remote_delete(rust::Str path) {
  return to_outcome(guarded([&] { return Env::Default()->DeleteFile(to_string(path)); }));
}

}  // namespace tftrt
