#ifndef TFTRT_GRAPH_SHAPES_H_
#define TFTRT_GRAPH_SHAPES_H_

#include "tensorflow/core/framework/graph.pb.h"
#include "tftrt/cpp_shim/internal.h"

namespace tensorflow::grappler {
class GraphProperties;
}  // namespace tensorflow::grappler

namespace tftrt {

// What `properties` knows of the outputs of the nodes of `graph`.
rust::Vec<NodeOutputs> shapes_of(const tensorflow::GraphDef& graph,
                                 const tensorflow::grappler::GraphProperties& properties);

}  // namespace tftrt

#endif  // TFTRT_GRAPH_SHAPES_H_
