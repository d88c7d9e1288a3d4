#include "controller/campaign/space_spec.hpp"

namespace finch::controller {
namespace {

protocol::CustomSpace message_of(const search::CustomSpaceConfig& config) {
  protocol::CustomSpace message;
  const auto copy = [](auto* to, const auto& from) { to->Add(from.begin(), from.end()); };
  copy(message.mutable_resolution(), config.resolution);
  copy(message.mutable_width_multiplier(), config.width_multiplier);
  for (const search::ActivationKind kind : config.activation) message.add_activation(search::to_string(kind));
  message.set_stem_channels(config.stem_channels);
  message.set_stem_kernel_size(config.stem_kernel_size);
  message.set_stem_stride(config.stem_stride);
  message.set_head_channels(config.head_channels);
  for (const search::CustomStage& from : config.stages) {
    protocol::CustomSpace::Stage& stage = *message.add_stages();
    for (const search::BlockType type : from.blocks) stage.add_blocks(search::to_string(type));
    copy(stage.mutable_depth(), from.depth);
    copy(stage.mutable_channels(), from.channels);
    stage.set_stride(from.stride);
    copy(stage.mutable_kernel_size(), from.kernel_size);
    copy(stage.mutable_expand_ratio(), from.expand_ratio);
    copy(stage.mutable_channel_ratio(), from.channel_ratio);
    copy(stage.mutable_squeeze_excite(), from.squeeze_excite);
  }
  return message;
}

}  // namespace

search::SpaceConfig space_config(const CampaignConfig& config, const protocol::DataFacts& data) {
  search::SpaceConfig space{.name = config.space,
                            .image = {data.channels(), data.height(), data.width()},
                            .classes = data.class_names_size()};
  if (config.space_file) space.custom = config.space_file->config;
  return space;
}

protocol::SpaceSpec space_spec(const CampaignConfig& config, const protocol::DataFacts& data) {
  protocol::SpaceSpec spec;
  spec.set_name(config.space);
  spec.set_channels(data.channels());
  spec.set_height(data.height());
  spec.set_width(data.width());
  spec.set_classes(data.class_names_size());
  if (config.space_file) *spec.mutable_custom() = message_of(config.space_file->config);
  return spec;
}

}  // namespace finch::controller
