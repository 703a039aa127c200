// TensorFlow's monitoring: which metrics there are, and their values, are told by Rust (src/metrics.rs).
#include <array>
#include <string>

#include "tensorflow/core/lib/monitoring/collected_metrics.h"
#include "tensorflow/core/lib/monitoring/collection_registry.h"
#include "tensorflow/core/lib/monitoring/metric_def.h"
#include "tensorflow/core/lib/monitoring/sampler.h"
#include "tftrt/cpp_shim/internal.h"

namespace tftrt {
namespace {

using tensorflow::monitoring::CollectionRegistry;
using tensorflow::monitoring::MetricCollectorGetter;
using tensorflow::monitoring::MetricDef;
using tensorflow::monitoring::MetricKind;

// Definition and registration stay for as long as the process: the library is never unloaded.
template <MetricKind kind, int labels, typename... Label>
void add(size_t index, const MetricText& text, const Label&... label) {
  auto* metric = new MetricDef<kind, int64_t, labels>(to_string(text.name), to_string(text.help), label...);
  auto collect = [metric, index](MetricCollectorGetter getter) {
    auto collector = getter.Get(metric);
    for (const MetricPoint& point : metric_points(index)) {
      std::array<std::string, labels> values;
      if constexpr (labels == 1) values[0] = to_string(point.label);
      collector.CollectValue(values, point.value);
    }
  };
  CollectionRegistry::Default()->Register(metric, collect).release();
}

template <MetricKind kind>
void add(size_t index, const MetricText& text) {
  if (text.label.empty()) {
    add<kind, 0>(index, text);
  } else {
    add<kind, 1>(index, text, to_string(text.label));
  }
}

// From a hundredth of a second to three hours.
tensorflow::monitoring::Sampler<0>* build_seconds() {
  static auto* sampler = [] {
    const MetricText text = build_seconds_text();
    return tensorflow::monitoring::Sampler<0>::New(
        {to_string(text.name), to_string(text.help)}, tensorflow::monitoring::Buckets::Exponential(0.01, 2, 20));
  }();
  return sampler;
}

}  // namespace

void register_metrics() {
  size_t index = 0;
  for (const MetricText& text : metric_texts()) {
    if (text.gauge) {
      add<MetricKind::kGauge>(index++, text);
    } else {
      add<MetricKind::kCumulative>(index++, text);
    }
  }
  // There from the start, and not only after the first build.
  build_seconds()->GetCell();
}

void record_build_seconds(double seconds) { build_seconds()->GetCell()->Add(seconds); }

rust::Vec<CollectedPoint> collected_metrics(rust::Str prefix) {
  rust::Vec<CollectedPoint> out;
  guarded([&]() -> absl::Status {
    const std::string wanted = to_string(prefix);
    const auto collected = CollectionRegistry::Default()->CollectMetrics({});
    for (const auto& [name, set] : collected->point_set_map) {
      if (name.compare(0, wanted.size(), wanted) != 0) continue;
      for (const auto& point : set->points) {
        CollectedPoint one{};
        one.name = to_rust(name);
        for (const auto& label : point->labels) one.label = to_rust(label.value);
        if (point->value_type == tensorflow::monitoring::ValueType::kHistogram) {
          one.histogram = true;
          one.value = static_cast<int64_t>(point->histogram_value.num());
          one.sum = point->histogram_value.sum();
        } else {
          one.value = point->int64_value;
        }
        out.push_back(std::move(one));
      }
    }
    return absl::OkStatus();
  }).IgnoreError();
  return out;
}

}  // namespace tftrt
