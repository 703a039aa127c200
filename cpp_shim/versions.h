// What differs between the TensorFlow releases that the shim is compiled for, and nothing else. build.rs says which one it is:
// TFTRT_TENSORFLOW is 218 for 2.18.
#ifndef TFTRT_VERSIONS_H_
#define TFTRT_VERSIONS_H_

#include <string>

#include "tensorflow/core/platform/file_system.h"
#include "tensorflow/core/platform/logging.h"
#if TFTRT_TENSORFLOW >= 221
#include "absl/log/internal/vlog_config.h"
#endif

namespace tftrt {

// The level of verbose logging for a source file of that name.
inline int vlog_level_of(const std::string& file) {
#if TFTRT_TENSORFLOW >= 221
  return absl::log_internal::VLogLevel(file);
#else
  // Until 2.20 TensorFlow logs by itself, and only tells whether a level is on. Nobody here asks for more than a few.
  constexpr int kMost = 16;
  int level = 0;
  while (level < kMost && tsl::internal::LogMessage::VmoduleActivated(file.c_str(), level + 1)) ++level;
  return level;
#endif
}

// Reads at most `size` bytes into `scratch`; `bytes` are what was read, there or elsewhere.
inline absl::Status read_some(const tensorflow::RandomAccessFile& file, uint64_t offset, size_t size, absl::string_view* bytes,
                              char* scratch) {
#if TFTRT_TENSORFLOW >= 221
  return file.Read(offset, *bytes, absl::MakeSpan(scratch, size));
#else
  return file.Read(offset, size, bytes, scratch);
#endif
}

// `file` outlives the message: until 2.20 the message refers to it.
inline void log_verbose(int level, const std::string& file, int line, const std::string& text) {
#if TFTRT_TENSORFLOW >= 221
  LOG(INFO).AtLocation(file, line).WithVerbosity(level) << text;
#else
  LOG(INFO).AtLocation(file.c_str(), line) << text;
#endif
}

}  // namespace tftrt

#endif  // TFTRT_VERSIONS_H_
