//! `envoy.service.discovery.v3.AggregatedDiscoveryService`.
//!
//! It is written by hand for the size of its buffers: the library's own take
//! 16 KiB of every stream, a fifth of what a connected proxy costs.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::{ProstCodec, ProstDecoder};

use super::protocol::{Delta, Protocol, Service, Sotw};
use super::{Responses, Xds};
use crate::xds::MAX_MESSAGE;

const STREAM: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// What the buffer for requests begins with, in bytes; it grows with them.
const BUFFER: usize = 512;
/// How much is gathered before it is sent on, in bytes.
const GATHER: usize = 32 * 1024;

/// The aggregated discovery service.
#[derive(Debug, Clone)]
pub(in crate::xds) struct Ads(pub(in crate::xds) Xds);

impl NamedService for Ads {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl tonic::codegen::Service<http::Request<Body>> for Ads {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let xds = self.0.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                STREAM => serve::<Sotw>(xds, request).await,
                DELTA => serve::<Delta>(xds, request).await,
                _ => Status::unimplemented("there is no such method").into_http(),
            })
        })
    }
}

async fn serve<P: Protocol>(xds: Xds, request: http::Request<Body>) -> http::Response<Body> {
    Grpc::new(SmallBuffers::<P>(PhantomData))
        .apply_max_message_size_config(Some(MAX_MESSAGE), None)
        .streaming(Open::<P>(xds, PhantomData), request)
        .await
}

struct Open<P>(Xds, PhantomData<P>);

impl<P: Protocol> StreamingService<P::Request> for Open<P> {
    type Response = P::Response;
    type ResponseStream = Responses<P::Response>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<P::Request>>) -> Self::Future {
        let xds = self.0.clone();
        Box::pin(async move { xds.open::<P>(Service::Aggregated, request).await })
    }
}

struct SmallBuffers<P>(PhantomData<P>);

impl<P: Protocol> Codec for SmallBuffers<P> {
    type Encode = P::Response;
    type Decode = P::Request;
    type Encoder = Exact<P::Response>;
    type Decoder = ProstDecoder<P::Request>;

    fn encoder(&mut self) -> Self::Encoder {
        Exact(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        let settings = BufferSettings::new(BUFFER, GATHER);
        ProstCodec::<P::Response, P::Request>::raw_decoder(settings)
    }
}

/// Makes a buffer of a response's own size, which goes when it is sent.
struct Exact<T>(PhantomData<T>);

impl<T: prost::Message> Encoder for Exact<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(0, GATHER)
    }
}
