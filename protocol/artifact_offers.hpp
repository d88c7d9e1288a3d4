// What became of the artifacts that a worker offered on its present connection. Not thread safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace finch::protocol {

class ArtifactOffers {
 public:
  void clear() { offers_.clear(); }
  // True when it is new: the offer is to be sent.
  bool make(const std::string& sha256) { return offers_.try_emplace(sha256).second; }
  void forget(const std::string& sha256) { offers_.erase(sha256); }
  void set_delivered(const std::string& sha256) { offers_[sha256].delivered = true; }
  bool delivered(const std::string& sha256) const {
    const auto found = offers_.find(sha256);
    return found != offers_.end() && found->second.delivered;
  }
  // True while the controller owes an answer.
  bool open() const {
    return std::ranges::any_of(offers_, [](const auto& offer) { return !offer.second.delivered; });
  }
  // The controller wants bytes from `offset` on. False: no further than it wanted them before, so it could not keep
  // what it got (a full disk?).
  bool advances(const std::string& sha256, std::int64_t offset) {
    const auto found = offers_.find(sha256);
    return found == offers_.end() || offset > std::exchange(found->second.wanted_from, offset);
  }

 private:
  struct Offer {
    bool delivered = false;
    std::int64_t wanted_from = -1;
  };
  std::map<std::string, Offer> offers_;  // by hash
};

}  // namespace finch::protocol
